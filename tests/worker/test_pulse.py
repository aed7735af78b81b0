from worker.pulse import Deafness


def test_messages_that_wait_while_hands_are_free_and_nothing_is_heard_mean_deafness() -> None:
    deafness = Deafness(30)
    assert not deafness.observe(100, waiting=True, free=True, last_heard=0)
    assert not deafness.observe(130, waiting=True, free=True, last_heard=0)
    assert deafness.observe(131, waiting=True, free=True, last_heard=0)


def test_a_worker_with_full_hands_is_not_deaf() -> None:
    deafness = Deafness(30)
    assert not any(deafness.observe(at, waiting=True, free=False, last_heard=0) for at in range(0, 1000, 3))


def test_an_empty_queue_or_a_message_heard_begins_the_patience_anew() -> None:
    deafness = Deafness(30)
    deafness.observe(0, waiting=True, free=True, last_heard=0)
    deafness.observe(20, waiting=False, free=True, last_heard=0)
    assert not deafness.observe(40, waiting=True, free=True, last_heard=0)
    assert not deafness.observe(65, waiting=True, free=True, last_heard=60)
    assert deafness.observe(96, waiting=True, free=True, last_heard=60)
