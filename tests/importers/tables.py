"""What the tests of tables share: a table of two columns, opened, and the levels that are read from it."""

from ldm_hf.importers import open_source

BASE = {"name": "T-v0", "observation": {"level": {}}, "action": {"pump": {}}}
LOG = "level,pump\n1.5,on\n2.5,off\n"


def opened(folder, table, name="log.csv", **columns):
    """Opens a table, or a file of this content, as `BASE` describes it, or as further columns do."""
    if isinstance(table, str | bytes):
        (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
        table = folder / name
    return open_source("table", table, columns=BASE | columns)


def levels(source):
    """The first observed number of each step, by episode."""
    return [episode["observation"].reshape(len(episode["reward"]), -1)[:, 0].tolist() for episode in source.episodes()]
