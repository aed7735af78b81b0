from worker.progress import JobProgress

STAGES = ["load", "profile", "baseline", "prune", "finetune", "audit", "compress", "export", "verify", "publish"]


def test_the_stages_fill_the_job_from_nothing_to_all() -> None:
    progress = JobProgress()
    seen = [progress.fraction]
    for stage in STAGES:
        progress.enter(stage)
        for fraction in (0.5, 1.0):
            progress.update(fraction, "")
            seen.append(progress.fraction)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert abs(seen[-1] - 1) < 1e-9


def test_a_stage_that_comes_again_does_not_take_progress_back() -> None:
    progress = JobProgress()
    progress.enter("finetune")
    progress.update(0.5, "twin")
    reached = progress.fraction
    progress.enter("prune")
    progress.update(0.1, "second step")
    assert progress.fraction == reached


def test_an_unknown_stage_is_shown_and_moves_nothing() -> None:
    progress = JobProgress()
    progress.enter("prune")
    reached = progress.fraction
    progress.enter("quantize")
    progress.update(0.9, "int8")
    assert (progress.stage, progress.fraction, progress.message) == ("quantize", reached, "int8")


def test_an_eta_is_given_only_once_there_is_something_to_extrapolate() -> None:
    progress = JobProgress()
    progress.enter("finetune")  # as after a resume: the stages before took no time
    assert progress.eta_seconds is None
    progress.update(0.5, "epoch 1 of 2")
    assert progress.eta_seconds is None
    progress.update(0.7, "epoch 2 of 2")
    assert progress.eta_seconds is not None
