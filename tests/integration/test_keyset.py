"""Lists that page by key: every row once, and no query that grows with the number of rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from executions.models import Execution, NodeExecution
from flows.models import Flow
from flows.versions import create_flow
from tests.integration.admin_data import NODE_RUNS, RUNS, listed, logged_in, make_node_run, make_run, queries_of, staff
from tests.integration.execution_data import query_plan
from tests.integration.flow_data import graph_of

pytestmark = pytest.mark.django_db

PAGE = 3
JSON_COLUMNS = ("input", "output", "error", "graph")


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    from executions.admin.history import HistoryAdmin

    monkeypatch.setattr(HistoryAdmin, "list_per_page", PAGE)


@pytest.fixture
def operator() -> User:
    return staff("operator", "executions.view_execution", "flows.view_flow")


@pytest.fixture
def client(operator: User) -> Client:
    return logged_in(operator)


@pytest.fixture
def flow() -> Flow:
    return create_flow(owner=staff("owner"), name="Flow", graph_json=graph_of(1))


def page(client: Client, address: str) -> Any:
    response = client.get(address)
    assert response.status_code == 200
    return response.context["cl"]


def walk(client: Client, start: str, direction: str) -> list[list[Any]]:
    """The keys of all pages from one on."""
    folder, _, query = start.partition("?")
    pages, query = [], f"?{query}"
    while query:
        shown = page(client, folder + query)
        pages.append([row.pk for row in shown.result_list])
        query = getattr(shown, f"{direction}_url")
    return pages


def test_older_pages_hold_every_run_once_newest_first(client: Client, flow: Flow) -> None:
    keys = sorted((make_run(flow).pk for _ in range(8)), reverse=True)
    assert walk(client, RUNS, "older") == [keys[:3], keys[3:6], keys[6:]]


def test_the_way_back_shows_the_same_pages(client: Client, flow: Flow) -> None:
    keys = sorted((make_run(flow).pk for _ in range(9)), reverse=True)
    last = page(client, f"{RUNS}?older={keys[5]}")
    assert last.older_url is None
    assert walk(client, RUNS + last.newer_url, "newer") == [keys[3:6], keys[:3]]


def test_near_the_top_the_first_page_is_shown_full(client: Client, flow: Flow) -> None:
    keys = sorted((make_run(flow).pk for _ in range(5)), reverse=True)
    shown = page(client, f"{RUNS}?newer={keys[1]}")
    assert [row.pk for row in shown.result_list] == keys[:3]
    assert shown.newer_url is None


def test_a_page_without_neighbours_has_no_links(client: Client, flow: Flow) -> None:
    for _ in range(PAGE):
        make_run(flow)
    shown = page(client, RUNS)
    assert (shown.older_url, shown.newer_url) == (None, None)


def test_paging_goes_on_behind_a_row_that_was_deleted(client: Client, flow: Flow) -> None:
    keys = sorted((make_run(flow).pk for _ in range(5)), reverse=True)
    Execution.objects.filter(pk=keys[2]).delete()
    assert listed(client, f"{RUNS}?older={keys[2]}") == keys[3:]


def test_runs_that_come_in_meanwhile_do_not_shift_a_page(client: Client, flow: Flow) -> None:
    keys = sorted((make_run(flow).pk for _ in range(5)), reverse=True)
    older = page(client, RUNS).older_url
    make_run(flow)
    assert listed(client, RUNS + older) == keys[3:]


def test_filters_are_kept_while_paging_and_paging_begins_anew_with_another_filter(client: Client, flow: Flow) -> None:
    keys = sorted((make_run(flow, status).pk for status in ["error", "success"] * 4), reverse=True)
    wanted = [key for key in keys if Execution.objects.get(pk=key).status == "error"]
    assert walk(client, f"{RUNS}?status=error", "older") == [wanted[:3], wanted[3:]]
    html = client.get(f"{RUNS}?status=error&older={wanted[0]}").content.decode()
    links = re.findall(r'href="(\?[^"]*mode=api[^"]*)"', html)
    assert links
    assert all("older" not in link and "status=error" in link for link in links)
    assert f'name="older" value="{wanted[0]}"' not in html


def test_an_empty_page_behind_the_end_leads_back(client: Client, flow: Flow) -> None:
    shown = page(client, f"{RUNS}?older={make_run(flow).pk}")
    assert list(shown.result_list) == []
    assert listed(client, RUNS + shown.newer_url)


@pytest.mark.parametrize("address", [f"{RUNS}?older=nonsense", f"{RUNS}?newer=1", f"{NODE_RUNS}?older=nonsense"])
def test_a_key_that_is_none_leads_to_the_first_page(address: str, client: Client) -> None:
    response = client.get(address)
    assert response.status_code == 302
    assert response["Location"].endswith("?e=1")
    assert client.get(response["Location"]).status_code == 200


def test_a_key_beyond_all_integers_is_an_empty_page_and_no_fault(client: Client) -> None:
    assert listed(client, f"{NODE_RUNS}?newer={10**30}") == []


def test_node_runs_are_paged_alike(client: Client, flow: Flow) -> None:
    run = make_run(flow)
    keys = [make_node_run(run, f"n{number}").pk for number in range(7)][::-1]
    assert walk(client, NODE_RUNS, "older") == [keys[:3], keys[3:6], keys[6:]]


# -- what a page costs ------------------------------------------------------------------------------------------------

ADDRESSES = [
    RUNS,
    f"{RUNS}?older=ffffffff-ffff-7fff-8fff-ffffffffffff",
    f"{RUNS}?newer=00000000-0000-7000-8000-000000000000",
    f"{RUNS}?status=error",
    f"{RUNS}?mode=cli",
    f"{RUNS}?flow=1",
    f"{RUNS}?created=day",
    f"{RUNS}?q=0199",
    f"{RUNS}?q=flow",
    NODE_RUNS,
    f"{NODE_RUNS}?older=1000000",
    f"{NODE_RUNS}?newer=0",
    f"{NODE_RUNS}?status=error",
    f"{NODE_RUNS}?recorded=day",
]
TABLES = (Execution._meta.db_table, NodeExecution._meta.db_table)


def fill(flow: Flow, number: int) -> None:
    for _ in range(number):
        make_node_run(make_run(flow, "error", mode="cli"), "start", "error", input={"big": 1})


def reads_of(client: Client, address: str) -> list[str]:
    """The queries over the tables that grow."""
    return [sql for sql in queries_of(client, address) if any(f'FROM "{table}"' in sql for table in TABLES)]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_page_counts_or_skips_or_reads_what_it_does_not_show(address: str, client: Client, flow: Flow) -> None:
    fill(flow, 5)
    for sql in reads_of(client, address):
        assert "COUNT(" not in sql.upper()
        assert "OFFSET" not in sql.upper()
        columns = sql.split(" FROM ")[0]
        assert not any(f'"{column}"' in columns for column in JSON_COLUMNS), columns


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_takes_as_many_queries_for_many_rows_as_for_few(address: str, client: Client, flow: Flow) -> None:
    fill(flow, PAGE + 1)
    few = len(queries_of(client, address))
    fill(flow, 2 * PAGE)
    assert len(queries_of(client, address)) == few


@pytest.mark.sqlite_only  # reads SQLite's query plans
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("permitted", [True, False])
def test_every_page_is_read_along_an_index_and_not_sorted(
    address: str, permitted: bool, client: Client, flow: Flow
) -> None:
    fill(flow, 5)
    flow_of = address.replace("flow=1", f"flow={flow.pk}")
    reader = client if permitted else logged_in(flow.owner)
    keys = [sql for sql in reads_of(reader, flow_of) if "LIMIT" in sql]
    assert keys
    for sql in keys:
        assert "TEMP B-TREE" not in query_plan(sql), (sql, query_plan(sql))
