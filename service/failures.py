"""What jobs and inspections fail for, explained. The codes are those of `worker.errors` and of the reconciler."""

from dataclasses import dataclass

__all__ = ["FAILURES", "Failure"]


@dataclass(frozen=True)
class Failure:
    title: str
    explanation: str


FAILURES: dict[str, Failure] = {
    "job-failed": Failure("The job failed", "The job could not be done; `detail` says why."),
    "internal-error": Failure(
        "Internal error", "Something went wrong that is not the client's fault; the logs of the worker say what."
    ),
    "worker-lost": Failure(
        "The worker was lost",
        "The worker fell silent on every attempt that was allowed, as when its host runs out of memory.",
    ),
    "unreadable-model": Failure("The model cannot be read", "The upload is not a model this service reads."),
    "unsafe-model": Failure(
        "The model file can run code and is refused",
        "Pickles and TorchScript are programs: loading one runs what is in it. Save the model with torch.export.save "
        "(.pt2), or export it to ONNX.",
    ),
    "malformed-model": Failure("The model file is damaged", "The file breaks the rules of its own format."),
    "unsupported-model": Failure(
        "The model uses something that is not supported", "The file is sound; `detail` names the op or feature."
    ),
    "unreadable-dataset": Failure("The dataset cannot be read", "The upload is not a dataset this service reads."),
    "unsafe-dataset": Failure(
        "The dataset file is unsafe and is refused",
        "It holds pickled objects, paths that leave its folder, or swells beyond the limit when unpacked.",
    ),
    "malformed-dataset": Failure("The dataset file is damaged", "The file breaks the rules of its own format."),
    "mismatched-dataset": Failure(
        "The dataset does not fit", "Samples do not fit the model, or labels do not fit the samples."
    ),
    "target-unreachable": Failure(
        "The target cannot be reached", "No choice of channels meets the budget under the rules of the recipe."
    ),
    "nothing-removed": Failure(
        "Nothing was removed", "The prune would have left the model as it was; that is an error, not a result."
    ),
    "self-check-failed": Failure(
        "The pruned model failed its self-check",
        "The pruned graph did not compute what the masked dense graph computes. This is a defect of the service.",
    ),
    "training-diverged": Failure(
        "Fine-tuning diverged", "The loss became NaN or infinite. Lower `finetune.learning_rate`."
    ),
    "out-of-memory": Failure(
        "The job needs more memory than it may use",
        "The process of the job reached `SECATEUR_LIMITS__JOB_MEMORY_BYTES`. Lower `finetune.batch_size`, or raise it.",
    ),
    "time-limit": Failure(
        "The job ran into its time limit", "It used up its CPU time, or reported no progress for too long."
    ),
    "export-mismatch": Failure(
        "The exported model differs from the pruned one",
        "ONNX Runtime answers differently from torch. This is a defect of the service or of the exporter.",
    ),
}
