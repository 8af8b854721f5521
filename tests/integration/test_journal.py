"""The journal's writer: group commit, the fence, and what becomes of runs when the database refuses or is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection

from executions import claims, dispatch, runtime
from executions.engine.ports import Entry, HeadRow, JournalLost, JournalRefused
from executions.journal import writer as writer_module
from executions.journal.batch import Database, RunWrite
from executions.journal.writer import JournalWriter, RunJournal
from executions.models import Command, Execution, ExecutionEvent, Mode, NodeExecution
from executions.statuses import NodeStatus, RunStatus
from flows.models import Flow
from tests.integration.execution_data import journal_of, locked_by_another, make_flow, wait_for_status
from tests.integration.flow_data import graph_of, make_user
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)

Published = list[tuple[UUID, list[int]]]


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


@pytest.fixture
def flow(author: User) -> Flow:
    return make_flow(author, graph_of(0))


@pytest.fixture
def published() -> Published:
    return []


@pytest.fixture
def writer(flow: Flow, published: Published) -> Iterator[JournalWriter]:
    def publish(run: RunJournal, entries: Sequence[Entry]) -> None:
        assert ExecutionEvent.objects.filter(execution_id=run.execution_id, seq=entries[-1].seq).exists()
        published.append((run.execution_id, [entry.seq for entry in entries]))

    writer = JournalWriter(publish)
    yield writer
    writer.close()


@pytest.fixture
def make_run(flow: Flow) -> Callable[[], Execution]:
    """Return a function that makes a run as a worker has taken it."""

    def make() -> Execution:
        return Execution.objects.create(
            flow=flow, flow_version=flow.versions.get(), mode="api", epoch=1, lease_owner="me", lease_until=NOW
        )

    return make


def entry(seq: int, **fields: Any) -> Entry:
    return Entry(seq, "nodeExecutionProgress", b'{"seq":%d}' % seq, NOW, **fields)


def node(attempt: int, status: NodeStatus, node_id: str = "a") -> Any:
    return (node_id, attempt, status, NOW, None, b"{}", None, None, None, None, None, None)


def within(awaitable: Any, seconds: float = 10.0) -> Any:
    return asyncio.wait_for(awaitable, seconds)


async def database(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that uses the database in a thread, and leave no connection there."""

    def call() -> Any:
        try:
            return function(*args)
        finally:
            connection.close()

    return await asyncio.to_thread(call)


async def seqs(run: Execution) -> list[int]:
    return await database(lambda: list(run.events.order_by("seq").values_list("seq", flat=True)))


def around_commits(
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Call the functions around each commit of the writers that start from now on."""
    original = writer_module.open_database

    class Watched:
        def __init__(self) -> None:
            self._database: Database = original()

        def commit(self, writes: Sequence[RunWrite]) -> list[RunWrite]:
            before()
            lost = self._database.commit(writes)
            after()
            return lost

        def close(self) -> None:
            self._database.close()

    monkeypatch.setattr(writer_module, "open_database", Watched)


class Blocked:
    """The first transaction of the writer waits, so that a test knows what piles up behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        around_commits(monkeypatch, before=self._wait)

    def _wait(self) -> None:
        self.entered.set()
        assert self.go_on.wait(20)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)


# Group commit


async def test_a_lone_event_is_committed_at_once_with_all_its_rows(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution]
) -> None:
    run = await database(make_run)
    command = await database(lambda: Command.objects.create(execution=run, kind="pause"))
    journal = writer.open(run.pk, 1, 0)
    head = HeadRow(status=RunStatus.RUNNING, started_at=NOW)
    journal.append([entry(1, node=node(1, NodeStatus.RUNNING), head=head, obeyed=command.pk)])
    await within(journal.committed(1))

    def look() -> None:
        run.refresh_from_db()
        assert (run.last_seq, run.status, run.started_at, run.lease_owner) == (1, "running", NOW, "me")
        assert NodeExecution.objects.get(execution=run).status == "running"
        command.refresh_from_db()
        assert command.taken_at is not None

    await database(look)
    assert published == [(run.pk, [1])]
    assert writer.commits == 1 and writer.backlog == 0


async def test_what_piles_up_during_a_commit_is_the_next_one(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = Blocked(monkeypatch)
    runs = [await database(make_run) for _ in range(5)]
    journals = [writer.open(run.pk, 1, 0) for run in runs]
    journals[0].append([entry(1)])
    await blocked.wait_entered()
    for seq in range(1, 11):
        for journal in journals[1:]:
            journal.append([entry(seq, node=node(seq, NodeStatus.RUNNING))])
    blocked.go_on.set()
    await within(asyncio.gather(*(journal.committed(10) for journal in journals[1:])))
    assert writer.commits == 2
    assert published[1:] == [(run.pk, list(range(1, 11))) for run in runs[1:]]
    for run in runs[1:]:
        assert await seqs(run) == list(range(1, 11))
        assert await database(NodeExecution.objects.filter(execution=run).count) == 10


async def test_of_several_states_of_an_attempt_in_one_commit_the_last_one_stays(
    writer: JournalWriter, make_run: Callable[[], Execution]
) -> None:
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    statuses = [NodeStatus.RUNNING, NodeStatus.RUNNING, NodeStatus.SUCCESS]
    journal.append([entry(seq, node=node(1, status)) for seq, status in enumerate(statuses, start=1)])
    await within(journal.committed(3))
    rows = await database(lambda: list(NodeExecution.objects.filter(execution=run).values_list("status", flat=True)))
    assert rows == ["success"]


async def test_a_run_that_pauses_or_ends_is_held_by_nobody_from_that_commit_on(
    writer: JournalWriter, make_run: Callable[[], Execution]
) -> None:
    for status in (RunStatus.PAUSED, RunStatus.SUCCESS):
        run = await database(make_run)
        journal = writer.open(run.pk, 1, 0)
        journal.append([entry(1, head=HeadRow(status=status, started_at=NOW))])
        await within(journal.committed(1))
        await database(run.refresh_from_db)
        assert (run.status, run.lease_owner, run.lease_until) == (status, "", None)


# The fence


async def test_a_zombie_writes_nothing_and_is_told_so(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution]
) -> None:
    run = await database(make_run)
    zombie = writer.open(run.pk, 1, 0)
    zombie.append([entry(1)])
    await within(zombie.committed(1))
    await database(lambda: Execution.objects.filter(pk=run.pk).update(epoch=2))
    heir = writer.open(run.pk, 2, 1)
    faults: list[Exception] = []
    zombie.on_fault = faults.append
    heir.append([entry(2)])
    zombie.append([entry(2, node=node(1, NodeStatus.ERROR), head=HeadRow(status=RunStatus.ERROR, started_at=NOW))])
    with pytest.raises(JournalLost):
        await within(zombie.committed(2))
    await within(heir.committed(2))
    assert [type(fault) for fault in faults] == [JournalLost]
    zombie.append([entry(3)])
    with pytest.raises(JournalLost):
        await within(zombie.committed(3))
    with pytest.raises(JournalLost):
        await zombie.ready()
    heir.append([entry(3)])
    await within(heir.committed(3))
    assert await seqs(run) == [1, 2, 3]
    assert published == [(run.pk, [1]), (run.pk, [2]), (run.pk, [3])]
    await database(run.refresh_from_db)
    assert (run.status, run.last_seq) == ("queued", 3)
    assert await database(NodeExecution.objects.count) == 0


async def test_a_zombie_is_refused_before_its_heir_has_written_anything(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution]
) -> None:
    run = await database(make_run)
    zombie = writer.open(run.pk, 1, 0)
    await database(lambda: Execution.objects.filter(pk=run.pk).update(epoch=2))
    zombie.append([entry(1)])
    with pytest.raises(JournalLost):
        await within(zombie.committed(1))
    await database(run.refresh_from_db)
    assert (run.last_seq, await seqs(run), published) == (0, [], [])


async def test_a_deleted_run_is_lost_and_no_other_is(writer: JournalWriter, make_run: Callable[[], Execution]) -> None:
    gone, there = await database(make_run), await database(make_run)
    journals = [writer.open(run.pk, 1, 0) for run in (gone, there)]
    await database(lambda: Execution.objects.filter(pk=gone.pk).delete())
    for journal in journals:
        journal.append([entry(1)])
    with pytest.raises(JournalLost):
        await within(journals[0].committed(1))
    await within(journals[1].committed(1))
    assert await seqs(there) == [1]


async def test_what_was_emitted_before_a_run_was_failed_does_not_pass_for_its_end(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution]
) -> None:
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    await database(claims.fail, run.pk, 1, {"type": "Fault", "message": "no", "hint": ""})
    journal.append([entry(1)])  # the same seq that the run's last event has
    with pytest.raises(JournalLost):
        await within(journal.committed(1))
    assert published == []
    assert [name for _, name, _ in await database(journal_of, run.pk)] == ["executionError"]


# What the database refuses


async def test_what_is_refused_of_one_run_does_not_touch_the_others(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = Blocked(monkeypatch)
    first, poison, *good = [await database(make_run) for _ in range(5)]
    # As if this run had an event already that its head does not know of: the very next one is refused.
    await database(
        lambda: ExecutionEvent.objects.create(execution=poison, seq=1, type="event", data="{}", created_at=NOW)
    )
    opening = writer.open(first.pk, 1, 0)
    opening.append([entry(1)])
    await blocked.wait_entered()
    journals = {run.pk: writer.open(run.pk, 1, 0) for run in (good[0], poison, *good[1:])}
    for journal in journals.values():
        journal.append([entry(1), entry(2)])
    blocked.go_on.set()
    for run in good:
        await within(journals[run.pk].committed(2))
        assert await seqs(run) == [1, 2]
    with pytest.raises(JournalRefused):
        await within(journals[poison.pk].committed(2))
    await database(poison.refresh_from_db)
    assert (poison.last_seq, await seqs(poison)) == (0, [1]), "nothing of it was written"
    assert {execution_id for execution_id, _ in published} == {first.pk, *(run.pk for run in good)}
    journals[good[0].pk].append([entry(3)])
    await within(journals[good[0].pk].committed(3))
    assert writer.backlog == 0


async def test_readers_that_cannot_be_told_do_not_stop_the_journal(
    flow: Flow, make_run: Callable[[], Execution]
) -> None:
    def broken(run: RunJournal, entries: Sequence[Entry]) -> None:
        raise ZeroDivisionError("a fault of the hub")

    run = await database(make_run)
    writer = JournalWriter(broken)
    journal = writer.open(run.pk, 1, 0)
    for seq in (1, 2):
        journal.append([entry(seq)])
        await within(journal.committed(seq))
    await asyncio.to_thread(writer.close)


# The database is away


async def test_while_the_database_is_away_nothing_is_lost(
    writer: JournalWriter, published: Published, make_run: Callable[[], Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 3

    def away() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OperationalError("the database is away")

    around_commits(monkeypatch, before=away)
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    for seq in range(1, 6):
        journal.append([entry(seq)])
    await within(journal.committed(5))
    assert await seqs(run) == [1, 2, 3, 4, 5]
    assert [seq for _, told in published for seq in told] == [1, 2, 3, 4, 5]


async def test_while_another_process_locks_the_database_runs_go_on(
    writer: JournalWriter, make_run: Callable[[], Execution]
) -> None:
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    with locked_by_another():
        for seq in range(1, 101):
            journal.append([entry(seq)])
            await within(journal.ready(), 1)
        waiting = asyncio.ensure_future(journal.committed(100))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
    await within(waiting)
    assert await seqs(run) == list(range(1, 101))


@pytest.mark.parametrize("times", [1, 3])
async def test_a_commit_whose_answer_is_lost_is_not_doubled(
    writer: JournalWriter,
    published: Published,
    make_run: Callable[[], Execution],
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    left = times

    def lose_answer() -> None:
        nonlocal left
        if left:
            left -= 1
            raise OperationalError("the server closed the connection unexpectedly")

    around_commits(monkeypatch, after=lose_answer)
    runs = [await database(make_run) for _ in range(3)]
    journals = [writer.open(run.pk, 1, 0) for run in runs]
    for seq in range(1, 5):
        for journal in journals:
            journal.append([entry(seq)])
    for journal in journals:
        await within(journal.committed(4))
        journal.append([entry(5)])
        await within(journal.committed(5))
    for run in runs:
        assert await seqs(run) == [1, 2, 3, 4, 5]
        assert [seq for told, part in published if told == run.pk for seq in part] == [1, 2, 3, 4, 5]


async def test_a_run_waits_while_the_journal_is_far_behind(
    writer: JournalWriter, make_run: Callable[[], Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_BACKLOG", 50)
    blocked = Blocked(monkeypatch)
    run, other = await database(make_run), await database(make_run)
    journal, bystander = writer.open(run.pk, 1, 0), writer.open(other.pk, 1, 0)
    journal.append([entry(1)])
    await blocked.wait_entered()
    await within(bystander.ready(), 1)
    journal.append([entry(seq) for seq in range(2, 60)])
    waiting = [asyncio.ensure_future(each.ready()) for each in (journal, bystander)]
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    blocked.go_on.set()
    await within(asyncio.gather(*waiting))
    assert writer.backlog <= 50


# The end


async def test_closing_writes_what_is_there(writer: JournalWriter, make_run: Callable[[], Execution]) -> None:
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    for seq in range(1, 301):
        journal.append([entry(seq)])
    await asyncio.to_thread(writer.close)
    assert await seqs(run) == list(range(1, 301))
    assert not [thread for thread in threading.enumerate() if thread.name == "journal"]


async def test_a_closed_writer_starts_anew(writer: JournalWriter, make_run: Callable[[], Execution]) -> None:
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    journal.append([entry(1)])
    await asyncio.to_thread(writer.close)
    again = writer.open(run.pk, 1, 1)
    again.append([entry(2)])
    await within(again.committed(2))
    assert await seqs(run) == [1, 2]


async def test_closing_does_not_wait_for_ever_and_leaves_one_writer(
    writer: JournalWriter, make_run: Callable[[], Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = Blocked(monkeypatch)
    run = await database(make_run)
    journal = writer.open(run.pk, 1, 0)
    journal.append([entry(1)])
    await blocked.wait_entered()
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(writer.close, 0.05)
    writer.open(uuid4(), 1, 0)
    assert len([thread for thread in threading.enumerate() if thread.name == "journal"]) == 1
    journal.append([entry(2)])
    blocked.go_on.set()
    await within(journal.committed(2))
    assert await seqs(run) == [1, 2]


def test_a_loop_that_was_closed_does_not_stop_the_journal(
    writer: JournalWriter, make_run: Callable[[], Execution]
) -> None:
    left, stays = make_run(), make_run()

    async def leave() -> None:
        writer.open(left.pk, 1, 0).append([entry(1)])

    async def stay() -> None:
        journal = writer.open(stays.pk, 1, 0)
        journal.append([entry(1)])
        await within(journal.committed(1))

    asyncio.run(leave())
    wait_until(lambda: left.events.count() == 1)
    asyncio.run(stay())
    assert stays.events.count() == 1


def test_runs_outlive_a_database_that_is_locked_for_a_while(flow: Flow, settings: Any) -> None:
    """The whole of it: commands, leases and journal meet the lock of another process in mid-run."""
    settings.WATAOMI_LEASE = 0.6
    graph = graph_of(0.3, 0.3, 0)
    runs = [
        dispatch.start_execution(
            make_flow(flow.owner, graph, name=f"Flow {number}"), input_data={}, requester=None, mode=Mode.API
        )
        for number in range(3)
    ]
    for run in runs:
        wait_for_status(run.pk, "running")
    with locked_by_another():
        threading.Event().wait(1.0)
    for run in runs:
        assert wait_for_status(run.pk) == "success"
        events = journal_of(run.pk)
        assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
        starts = [data["nodeId"] for _, kind, data in events if kind == "nodeExecutionBefore"]
        assert starts == ["start", "wait0", "wait1", "wait2"]


def test_the_end_of_the_process_goes_on_when_the_journal_cannot_be_written(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def late(timeout: float = 5.0) -> None:
        raise TimeoutError("The journal could not be written.")

    with monkeypatch.context() as patched:
        patched.setattr(runtime.writer, "close", late)
        for part in ("announcer", "hub", "reader_pool"):
            patched.setattr(getattr(runtime, part), "close", lambda part=part: ended.append(part))
        with pytest.raises(TimeoutError):
            runtime.shutdown()
    assert ended == ["announcer", "hub", "reader_pool"]
