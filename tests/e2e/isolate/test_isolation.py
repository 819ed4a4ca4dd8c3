"""Real nodes refuse, and everything else goes live: of each kind of refusal one case."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.isolate.conftest import Fleet, replica
from tests.support.gateway import wait_for

NOT_A_CERTIFICATE = (
    "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
)
BAD = {"url": "https://127.0.0.1:1/v1", "tls": {"ca": NOT_A_CERTIFICATE}}


def fields(problems: object) -> set[str]:
    assert isinstance(problems, dict)
    return {problem["field"] for problem in problems["error"]["problems"]}


def test_of_routes_that_envoy_refuses_without_a_name_exactly_the_bad_ones_are_found(
    fleet: Fleet,
) -> None:
    good = [f"among-{number}" for number in range(28)]
    bad = ["bad-route-1", "bad-route-2"]
    refusals = fleet.refusals()
    with ThreadPoolExecutor(2) as pool:
        many = pool.submit(fleet.apply, *(fleet.proxy(name) for name in (*good, *bad)))
        other = pool.submit(fleet.apply, fleet.proxy("someone-elses"))
        refused, fine = many.result(), other.result()
    assert refused.status_code == 422, refused.text
    assert fields(refused.json()) == {f"proxies/{name}" for name in bad}
    assert fine.status_code == 200, fine.text
    assert fleet.aside() == {f"proxies/{name}" for name in bad}
    for name in (*good, "someone-elses"):
        assert fleet.call(name).status_code == 200, name
    for name in bad:
        assert fleet.call(name).json()["error"]["code"] == "proxy_rejected"
    # Once: neither write is offered while nodes have yet to answer the other, or its refusal has yet
    # to be taken. (Only an Envoy that is silent for all of `Hub.patience` would be offered both.)
    assert fleet.refusals() == refusals + 1
    wait_for(lambda: fleet.records() == {f"proxies/{name}" for name in bad}, 10, "the records")
    revision = refused.json()["error"].get("revision") or refused.headers["x-naru-revision"]
    fleet.forget(*bad)
    wait_for(lambda: not fleet.records(), 10, "no record of what has been deleted")
    assert fleet.api.get(f"/api/v1/revisions/{revision}").json()["state"] == "rejected"


def test_a_plan_that_the_worker_refuses(fleet: Fleet) -> None:
    answer = fleet.apply(fleet.proxy("bad-plan-1"), fleet.proxy("beside"))
    assert answer.status_code == 422, answer.text
    assert fields(answer.json()) == {"proxies/bad-plan-1"}
    assert "gibberish" in answer.text
    assert fleet.call("beside").status_code == 200
    assert fleet.call("bad-plan-1").status_code == 503
    again = fleet.apply(fleet.proxy("bad-plan-1"), fleet.proxy("beside"))
    assert (again.status_code, fields(again.json())) == (422, {"proxies/bad-plan-1"})


def test_the_good_clusters_of_a_refused_response_are_used_and_none_is_left(fleet: Fleet) -> None:
    before = fleet.clusters()
    one = (fleet.upstream("one", timeouts={"connect": "3s"}), fleet.proxy("one", "one"))
    answer = fleet.apply(
        *one, fleet.upstream("wrong", **BAD, credential=None), fleet.proxy("wrong", "wrong")
    )
    assert fields(answer.json()) == {"upstreams/wrong", "proxies/wrong"}
    assert fleet.call("one").status_code == 200
    assert {name.partition("#")[0] for name in fleet.clusters() - before} == {"one"}
    late = fleet.apply(fleet.proxy("late", "wrong"))
    assert fields(late.json()) == {"proxies/late"}
    mended = fleet.apply(fleet.upstream("wrong", timeouts={"connect": "4s"}))
    assert mended.status_code == 200, mended.text
    assert fleet.call("wrong").status_code == fleet.call("late").status_code == 200
    wait_for(lambda: not fleet.records(), 10, "no record of what is mended")
    assert not fleet.aside()


def test_neither_a_restart_nor_another_replica_offers_it_again(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert fleet.apply(fleet.upstream("edited"), fleet.proxy("edited", "edited")).status_code == 200
    plan = fleet.call("edited").headers["x-naru-plan"]
    assert fleet.apply(fleet.upstream("edited", **BAD)).status_code == 422
    aside = {"upstreams/edited", "proxies/edited"}
    wait_for(lambda: fleet.records() == aside, 10, "the records")
    refusals = fleet.refusals()
    with replica(tmp_path / "other", fleet.places, fleet.etcd) as other, other.client() as api:
        assert fleet.aside(api) == aside
    fleet.control_plane.stop()
    assert fleet.call("edited").status_code == 200
    fleet.start()
    done = fleet.apply(fleet.proxy("after"))
    assert done.status_code == 200, done.text
    assert fleet.aside() == aside
    assert fleet.refusals() == refusals
    assert fleet.call("edited").headers["x-naru-plan"] == plan
    assert fleet.call("after").status_code == 200
    fleet.apply(fleet.upstream("edited"))
    wait_for(lambda: not fleet.records(), 10, "no record of what is mended")


def test_a_refusal_while_etcd_is_away_is_saved_when_it_is_back(fleet: Fleet) -> None:
    etcd = fleet.etcd
    assert fleet.apply(fleet.upstream("edited"), fleet.proxy("edited", "edited")).status_code == 200
    # Written without waiting, so that etcd is away as soon as the nodes are told.
    assert fleet.apply(fleet.upstream("edited", **BAD), wait="0s").status_code in (200, 202, 422)
    etcd.stop()
    wait_for(lambda: len(fleet.aside()) == 2, 20, "set aside without etcd")
    assert fleet.call("edited").status_code == 200
    etcd.start()
    wait_for(lambda: fleet.records() == {"upstreams/edited", "proxies/edited"}, 30, "the records")


def test_a_secret_that_cannot_be_read_stops_only_its_users(fleet: Fleet) -> None:
    own = {"type": "bearer", "secret": fleet.provider.key, "allowedHosts": ["127.0.0.1"]}
    credential = {
        "apiVersion": "naru/v1",
        "kind": "Credential",
        "metadata": {"name": "own"},
        "spec": own,
    }
    used = fleet.upstream("own", credential="own", timeouts={"connect": "2s"})
    assert fleet.apply(credential, used, fleet.proxy("own", "own")).status_code == 200
    key = "/naru/v1/resources/credentials/own"
    stored = fleet.etcd.ctl("get", key, "--print-value-only").strip()
    fleet.etcd.ctl("put", key, stdin=stored.replace('"dataKey":"', '"dataKey":"AAAA'))
    done = fleet.apply(fleet.proxy("beside"))
    assert done.status_code == 200, done.text
    assert fleet.aside() == {"proxies/own"}
    assert fleet.call("own").status_code == fleet.call("beside").status_code == 200
    status = fleet.api.get("/api/v1/status").json()
    assert "credentials/own" in str(status["store"]["unreadable"])
    assert {each["serving"] for each in status["set_aside"]} == {"its last good version"}
    assert fleet.apply(credential).status_code == 200
    wait_for(lambda: not fleet.aside(), 10, "the users to be back")


def test_a_secret_that_is_rotated_reaches_the_last_good_version(fleet: Fleet) -> None:
    assert fleet.apply(fleet.upstream("edited"), fleet.proxy("edited", "edited")).status_code == 200
    assert fleet.apply(fleet.upstream("edited", **BAD)).status_code == 422
    key = {"type": "bearer", "secret": "another-secret", "allowedHosts": ["127.0.0.1"]}
    document = {
        "apiVersion": "naru/v1",
        "kind": "Credential",
        "metadata": {"name": "key"},
        "spec": key,
    }
    rotated = fleet.apply(document)
    assert rotated.status_code == 200, rotated.text
    assert fleet.call("edited").status_code == 401
    key["secret"] = fleet.provider.key
    assert fleet.apply(document).status_code == 200
    assert fleet.call("edited").status_code == 200
