"""ms-swift finds and calls our reward: run where ms-swift is installed, by `make test-integrations`."""

from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from swift.rewards import orms
from swift.utils import import_external_file

from tests.integrations.cases import cases, columns

FILE = Path(find_spec("onethinker.integrations.ms_swift").origin).with_name("onethinker_reward.py")


def test_ms_swift_loads_the_plugin_and_gives_every_task_our_reward():
    import_external_file(str(FILE))
    found = cases()
    messages = [[{"role": "assistant", "content": case.response}] for case in found]
    rewards = orms["onethinker"](args=None)([case.response for case in found], messages=messages, **columns(found))
    assert rewards == [case.reward for case in found]
    assert orms["onethinker_release"]().reward_scheme == "release"
    trl = PathFinder.find_spec("trl")
    assert trl is None or "onethinker" not in str(trl.origin), "no file beside the plug-in hides a package"
