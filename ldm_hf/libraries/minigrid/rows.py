"""Rows of MiniGrid (Chevalier-Boisvert et al. 2023) and BabyAI (Chevalier-Boisvert et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
MINIGRID = {
    "BlockedUnlockPickup": "Move the ball out of the way, unlock the door and pick up the box.",
    "DistShift": "Walk to the green goal past lava whose place changes.",
    "DoorKey": "Find the key, open the door and walk to the green goal.",
    "Dynamic-Obstacles": "Walk to the green goal without bumping into moving obstacles.",
    "Empty": "Walk to the green goal of an empty room.",
    "Fetch": "Pick up the object that the mission names.",
    "FourRooms": "Walk to the green goal in one of four rooms.",
    "GoToDoor": "Walk to the door of the colour that the mission names and say done.",
    "GoToObject": "Walk to the object that the mission names and say done.",
    "KeyCorridor": "Find the key in one of the rooms and fetch the object behind the locked door.",
    "LavaCrossing": "Cross the streams of lava and walk to the green goal.",
    "LavaGap": "Walk through the gap in the lava to the green goal.",
    "LockedRoom": "Follow the mission: find the key, unlock the room and walk to the goal.",
    "Memory": "Remember the object seen at the start and go to the same one at the end of the corridor.",
    "MultiRoom": "Open door after door and walk to the green goal in the last room.",
    "ObstructedMaze": "Find the ball in a maze of locked doors, hidden keys and obstacles.",
    "Playground": "Explore rooms full of objects; there is no reward.",
    "PutNear": "Carry the object that the mission names next to the other one.",
    "RedBlueDoors": "Open the red door first and then the blue one.",
    "SimpleCrossing": "Find the openings in the walls and walk to the green goal.",
    "UnlockPickup": "Unlock the door with the key and pick up the box behind it.",
    "Unlock": "Fetch the key and unlock the door.",
}
BABYAI = {
    "ActionObjDoor": "Do what the mission says with an object or a door.",
    "BlockedUnlockPickup": "Clear the way, unlock the door and pick up the object behind it.",
    "BossLevel": "Follow a long mission of several instructions in a maze of rooms.",
    "BossLevelNoUnlock": "Follow a long mission of several instructions in rooms without locked doors.",
    "FindObj": "Search the rooms for the object that the mission names and pick it up.",
    "GoTo": "Go to the object that the mission names.",
    "GoToDoor": "Go to the door that the mission names.",
    "GoToImpUnlock": "Go to the named object, which may be behind a locked door.",
    "GoToLocal": "Go to the named object in this room.",
    "GoToObjMaze": "Find the named object in a maze of rooms and go to it.",
    "GoToObjDoor": "Go to the object or door that the mission names.",
    "GoToObj": "Go to the only object of the room.",
    "GoToOpen": "Go to the named object through open doors.",
    "GoToRedBall": "Go to the red ball.",
    "GoToRedBlueBall": "Go to the red or the blue ball, as the mission says.",
    "GoToSeq": "Go to several objects in the order of the mission.",
    "KeyCorridor": "Find the key in one of the rooms and pick up the object behind the locked door.",
    "KeyInBox": "Take the key out of the box and open the door.",
    "MiniBossLevel": "Follow a mission of several instructions in a few small rooms.",
    "MoveTwoAcross": "Carry two objects across to the other room.",
    "OneRoom": "Pick up the ball somewhere in the large room.",
    "Open": "Open the door that the mission names.",
    "OpenDoorsOrder": "Open the doors in the order of the mission.",
    "OpenRedBlueDoors": "Open the red door and then the blue one.",
    "OpenTwoDoors": "Open two doors one after the other, as the mission says.",
    "Pickup": "Pick up the object that the mission names, wherever it is.",
    "PickupDist": "Pick up the named object among others.",
    "PickupLoc": "Pick up the object at the place that the mission describes.",
    "PutNext": "Carry the named object next to the other one.",
    "Synth": "Follow one instruction: go to, pick up, open or put next to.",
    "SynthSeq": "Follow several instructions one after the other.",
    "UnblockPickup": "Clear the way to the named object and pick it up.",
    "Unlock": "Find the key of the right colour and unlock the door.",
    "UnlockPickup": "Unlock the door and pick up the object behind it.",
    "UnlockToUnlock": "Unlock a door to get the key of the next one, and pick up the ball behind that.",
}
WITHOUT_FILES = ("MiniGrid-WFC",)  # their pattern files are not in the wheel
WITHOUT_REWARD = ("MiniGrid-Playground",)
BOT_FAILS = ("BabyAI-KeyInBox-v0",)  # it does not look into boxes
# steps to collect where the reference, which searches the maze, is slow
SLOW = {
    "MiniGrid-DoorKey-8x8-v0": 12000,
    "MiniGrid-KeyCorridorS3R3-v0": 4000,
    "MiniGrid-MultiRoom-N4-S5-v0": 12000,
}


def groups() -> Iterator[Group]:
    """All registered levels whose files the wheel has and which give rewards, with missions as text."""
    shared: Group = {"domain": "grid_world", "wrappers": ["text_mission"]}
    rows = rows_of(registered("minigrid", "BabyAI-"), lambda name: by_prefix(BABYAI, name.removeprefix("BabyAI-")))
    for row in rows:
        if row["name"] in BOT_FAILS:
            row["reference"] = None
    yield {**shared, "reference": "babyai_bot", "rows": rows}
    ids = [name for name in registered("minigrid", "MiniGrid-") if not name.startswith(WITHOUT_FILES + WITHOUT_REWARD)]
    for domain, memory in (("grid_world", False), ("memory", True)):
        chosen = [name for name in ids if name.startswith("MiniGrid-Memory") == memory]
        rows = rows_of(chosen, lambda name: by_prefix(MINIGRID, name.removeprefix("MiniGrid-")))
        for row in rows:
            if row["name"] in SLOW:
                row["max_steps"] = SLOW[row["name"]]
        yield {**shared, "domain": domain, "rows": rows}
