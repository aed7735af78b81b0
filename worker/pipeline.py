"""A job, read from top to bottom.

load → baseline → prune → finetune → audit → export → verify → publish. Each stage is a function of what the earlier
ones made; nothing reaches back. What a killed job had finished is taken up from `work_dir` by its next attempt.
"""

import tempfile
from pathlib import Path

from worker.memory import give_back
from worker.order import JobOrder, JobOutcome
from worker.reporter import Recording, Reporter
from worker.stages.baseline import measure_baseline
from worker.stages.export import export, measure, verify
from worker.stages.finetune import recover
from worker.stages.judge import judge
from worker.stages.load import load
from worker.stages.prune import prune_in_steps
from worker.stages.publish import Findings, publish
from worker.stages.targets import check_targets
from worker.training.checkpoint import CheckpointStore
from worker.training.device import resolve_device

__all__ = ["run"]


def run(order: JobOrder, reporter: Reporter) -> JobOutcome:
    """Run a job to its end and leave its files in `order.output_dir`.

    Raises:
        JobFailed: The fault of the model, the dataset or the recipe; see the tree in `worker.errors`.
    """
    recording = _Stages(reporter)
    checkpoints = CheckpointStore(order.work_dir)
    device = resolve_device(order.limits.device)

    recording.stage("load")
    loaded = load(order)

    recording.stage("baseline")
    baseline = measure_baseline(loaded, device, recording)
    recipe = baseline.recipe

    recording.stage("prune")
    pruned = prune_in_steps(baseline.start, loaded.data, recipe, device, checkpoints, recording)

    recording.stage("finetune")
    recovered = recover(baseline.start, pruned, loaded.data, recipe, device, checkpoints, recording)

    recording.stage("audit")
    evidence = judge(loaded, baseline, pruned, recovered, recipe, device, recording)

    with tempfile.TemporaryDirectory() as scratch:
        recording.stage("export")
        exported = export(
            recovered.pruned,
            loaded.dense,
            recipe.export,
            order.output_dir,
            Path(scratch),
            sparse=pruned.masks is not None,
        )

        # From here on the files speak for the networks: ONNX Runtime is about to hold dense and pruned once more.
        network, data, plan, training = recovered.pruned, loaded.data, pruned.plan, recovered.training
        del loaded, baseline, pruned, recovered

        recording.stage("verify")
        check = verify(exported, network, data, order.limits.threads)
        del network, data
        give_back()
        targets = check_targets(recipe.target, plan, exported, evidence.structure.sparsity)
        latency = measure(exported, recipe.export, order.limits.threads)

        recording.stage("publish")
        return publish(
            order,
            Findings(
                recipe=recipe,
                plan=plan,
                evidence=evidence,
                training=training,
                exported=exported,
                check=check,
                latency=latency,
                targets=targets,
                warnings=recording.warnings,
            ),
        )


class _Stages(Recording):
    """Each stage begins with no more memory than its inputs take."""

    def stage(self, name: str) -> None:
        give_back()
        super().stage(name)
