"""What every trainer's checkpoints have in common."""

from types import SimpleNamespace

import pytest

from vqa.checkpoints import TraceableCheckpoints
from vqa.runs import read_run_file, write_run_file


class Saves:
    def _save(self, output_dir=None, state_dict=None):
        pass


class Trainer(TraceableCheckpoints, Saves):
    def __init__(self, output_dir, should_save):
        self.args = SimpleNamespace(output_dir=str(output_dir), should_save=should_save)
        self.run_file = {"seed": 0}


@pytest.mark.parametrize("should_save", [True, False])
def test_only_the_saving_process_writes_the_run_file(should_save, tmp_path):
    write_run_file(tmp_path, {"log": []})
    Trainer(tmp_path, should_save)._save()
    assert read_run_file(tmp_path) == ({"seed": 0} if should_save else {"log": []})
