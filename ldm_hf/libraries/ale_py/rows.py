"""Atari 2600 games and MinAtar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ldm_hf.environments.generating import registered, rows_of

# By the name of the game, as the library writes it.
ATARI = {
    "Adventure": "Find the chalice and carry it back to the golden castle.",
    "AirRaid": "Shoot down the planes that bomb the city.",
    "Alien": "Crush the eggs in the corridors and stay away from the aliens.",
    "Amidar": "Paint all segments of the grid and avoid the guards.",
    "Assault": "Shoot the drones and do not overheat the gun.",
    "Asterix": "Collect the objects and avoid the lyres.",
    "Asteroids": "Shoot the asteroids without being hit by them.",
    "Atlantis": "Defend the sunken city with three guns.",
    "Atlantis2": "Defend the sunken city against faster waves.",
    "BankHeist": "Rob the banks of the town and escape the police.",
    "BasicMath": "Solve simple sums.",
    "BattleZone": "Shoot enemy tanks from inside your own.",
    "BeamRider": "Shoot the saucers while moving along the beams.",
    "Berzerk": "Shoot the robots in the maze and leave it.",
    "Blackjack": "Beat the dealer at cards.",
    "Bowling": "Knock down all the pins.",
    "Boxing": "Land more punches than the other boxer.",
    "Breakout": "Break the bricks with the ball.",
    "Carnival": "Shoot the targets of the shooting gallery.",
    "Casino": "Win money at the card table.",
    "Centipede": "Shoot the centipede before it comes down.",
    "ChopperCommand": "Protect the convoy from enemy aircraft.",
    "CrazyClimber": "Climb the skyscraper and dodge what falls.",
    "Crossbow": "Shoot what threatens your friends on their way.",
    "Darkchambers": "Explore the chambers, collect treasure and fight monsters.",
    "Defender": "Shoot the landers and save the humans.",
    "DemonAttack": "Shoot the waves of demons.",
    "DonkeyKong": "Climb the girders, jump over barrels and reach the top.",
    "DoubleDunk": "Win the basketball game two against two.",
    "Earthworld": "Search the rooms and put the right objects in them.",
    "ElevatorAction": "Fetch the documents and leave the building by lifts and stairs.",
    "Enduro": "Overtake as many cars as each day asks for.",
    "Entombed": "Get down the scrolling maze ahead of the zombies.",
    "Et": "Find the pieces of the telephone and call home.",
    "FishingDerby": "Catch more fish than the other angler, past the shark.",
    "FlagCapture": "Find the flag hidden under the squares.",
    "Freeway": "Cross the road and avoid the cars.",
    "Frogger": "Bring the frogs over road and river to their homes.",
    "Frostbite": "Build the igloo by jumping on the floating ice.",
    "Galaxian": "Shoot the formation of alien ships.",
    "Gopher": "Keep the gopher from the carrots.",
    "Gravitar": "Fly against the pull of planets and destroy their bunkers.",
    "Hangman": "Guess the letters of the hidden word.",
    "HauntedHouse": "Find the pieces of the urn in the dark house.",
    "Hero": "Blast through the mine and rescue the miners.",
    "HumanCannonball": "Choose angle and speed of the cannon to hit the tower.",
    "IceHockey": "Score more goals than the other team on the ice.",
    "Jamesbond": "Drive, dive and shoot through the missions.",
    "JourneyEscape": "Lead the band past fans and promoters to their vehicle.",
    "Kaboom": "Catch all falling bombs.",
    "Kangaroo": "Climb the floors and rescue the young kangaroo.",
    "KeystoneKapers": "Catch the thief in the department store.",
    "KingKong": "Climb the building past bombs and save the woman.",
    "Klax": "Catch the tiles and stack them by colour.",
    "Koolaid": "Stop the thirsties from drinking the pool.",
    "Krull": "Fight through the scenes and rescue the princess.",
    "KungFuMaster": "Fight through the floors of the temple.",
    "LaserGates": "Fly through the gates, shoot and save energy.",
    "LostLuggage": "Catch the suitcases that fly off the carousel.",
    "MarioBros": "Knock over the pests from below and kick them away.",
    "MiniatureGolf": "Hole the ball with few strokes.",
    "MontezumaRevenge": "Find keys and treasures in the temple and stay alive.",
    "MrDo": "Dig for cherries and avoid the monsters.",
    "MsPacman": "Eat the dots of the maze and avoid the ghosts.",
    "NameThisGame": "Guard the treasure from the octopus and the shark.",
    "Othello": "Own most of the discs at the end.",
    "Pacman": "Eat the wafers of the maze and avoid the ghosts.",
    "Phoenix": "Shoot the birds and the mother ship.",
    "Pitfall": "Run through the jungle and collect treasures.",
    "Pitfall2": "Explore the caverns and collect treasures.",
    "Pong": "Win the rallies against the other paddle.",
    "Pooyan": "Shoot the wolves that float on balloons.",
    "PrivateEye": "Find the stolen things and the thief in the city.",
    "Qbert": "Hop on every cube to change its colour and avoid enemies.",
    "Riverraid": "Fly along the river, shoot and refuel.",
    "RoadRunner": "Run from the coyote and eat the seeds.",
    "Robotank": "Destroy the enemy tanks by radar and sight.",
    "Seaquest": "Rescue divers, shoot sharks and come up for air.",
    "SirLancelot": "Joust with the flying beasts and reach the castle.",
    "Skiing": "Ski through all gates fast.",
    "Solaris": "Travel the quadrants and find the planet Solaris.",
    "SpaceInvaders": "Shoot the rows of invaders.",
    "SpaceWar": "Manoeuvre the ship and shoot the other one.",
    "StarGunner": "Shoot the attackers in open space.",
    "Superman": "Catch the criminals and repair the bridge.",
    "Surround": "Box the other player in and do not hit a wall.",
    "Tennis": "Win the points of the tennis match.",
    "Tetris": "Stack the falling pieces into full rows.",
    "TicTacToe3D": "Get four in a row in the cube.",
    "TimePilot": "Shoot the aircraft of each era.",
    "Trondead": "Derez the warriors with your disc.",
    "Turmoil": "Shoot along the lanes at what crosses them.",
    "Tutankham": "Collect the treasures of the tomb and shoot its guards.",
    "UpNDown": "Jump over cars and collect the flags of the road.",
    "Venture": "Fetch the treasures of the rooms and escape the monsters.",
    "VideoChess": "Win a game of chess.",
    "VideoCube": "Bring the faces of the cube to one colour each.",
    "VideoPinball": "Keep the ball in play and hit the bumpers.",
    "WizardOfWor": "Shoot the monsters of the dungeon.",
    "WordZapper": "Zap the letters of the word in order.",
    "YarsRevenge": "Nibble through the shield and hit the Qotile.",
    "Zaxxon": "Fly through the fortress and shoot its defences.",
}

WITHOUT_WAITING = (
    "Backgammon",
    "VideoCheckers",
)  # no action does nothing there, which the usual start of an episode needs

MINATAR = {
    "Asterix": "Collect the gold and avoid the enemies.",
    "Breakout": "Break the bricks with the ball.",
    "Freeway": "Cross the road and avoid the cars.",
    "Seaquest": "Rescue divers, shoot enemies and come up for air.",
    "SpaceInvaders": "Shoot the aliens.",
}


def atari() -> Iterator[dict[str, Any]]:
    """All games of the Arcade Learning Environment (Bellemare et al. 2013) whose ROMs the wheel has, with sticky actions (Machado et al. 2018)."""
    games = [name.removeprefix("ALE/").removesuffix("-v5") for name in registered("ale-py", "ALE/")]
    yield {
        "domain": "video_games",
        "kwargs": {"frameskip": 1},
        "max_steps": 8000,
        "wrappers": ["atari"],
        "rows": [
            {"name": f"ALE-{game}-v5", "env_id": f"ALE/{game}-v5", "task": ATARI[game]}
            for game in games
            if game not in WITHOUT_WAITING
        ],
    }


def minatar() -> Iterator[dict[str, Any]]:
    """MinAtar (Young & Tian 2019) with the actions that matter in each game."""
    yield {
        "domain": "video_games",
        "max_episode_steps": 500,
        "wrappers": ["forget_last_action"],
        "rows": rows_of(
            registered("MinAtar", "MinAtar/.*-v1"),
            lambda name: MINATAR[name.removeprefix("MinAtar/").removesuffix("-v1")],
            lambda name: name.replace("/", "-").removesuffix("-v1"),
        ),
    }


GENERATORS = {"ale-py": atari, "MinAtar": minatar}
