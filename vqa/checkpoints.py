"""What every trainer here does about its checkpoints, whatever its loss."""

from typing import Any

from peft import PeftModel

from vqa import runs
from vqa.models import load_weights


class TraceableCheckpoints:
    """Mixin for a `transformers.Trainer`: whole weights on resuming, and a run file beside every checkpoint.

    transformers saves a model under its hub's parameter names but resumes by plain `load_state_dict`, which
    skips every renamed weight with a mere warning; `from_pretrained`, used here, knows both names.

    Attributes:
        run_file: what `vqa.runs.describe_run` returned.
    """

    run_file: dict[str, Any]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        if self._reads_own_names():
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_weights(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if self._reads_own_names():
            return super()._load_best_model()
        load_weights(self.model, self.state.best_model_checkpoint)

    def _reads_own_names(self) -> bool:
        return isinstance(self.model, PeftModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        super()._save(output_dir, state_dict)
        # FSDP and DeepSpeed call this in every process: a late one would overwrite the finished run file.
        if self.args.should_save:
            runs.write_run_file(output_dir or self.args.output_dir, self.run_file)
