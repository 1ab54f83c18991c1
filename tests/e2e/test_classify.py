"""`yizhan classify`: what a reply means, by the shipped rules and by those of a configuration."""

import json
import subprocess

import harness
from harness import PROGRAM

BLOCKED = "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. part of their network is on our block list (S3150)."
GMAIL = "gmail-smtp-in.l.google.com"


def classify(*words, text=None):
    return subprocess.run(
        [*PROGRAM, "classify", *map(str, words)],
        capture_output=True,
        text=True,
        input=text,
        timeout=30 * harness.SLOW,
    )


def meaning(*words):
    r = classify(*words, "--json")
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def configured(tmp_path, rules):
    """A configuration whose queue has rules of its own."""
    (tmp_path / "mine.yaml").write_text(rules)
    path = tmp_path / "yizhan.yaml"
    path.write_text(
        json.dumps(
            {
                "hostname": "mx.example.org",
                "spool": str(tmp_path / "spool"),
                "dns": {"zone": str(tmp_path / "zone")},
                "queue": {"reply_classes": str(tmp_path / "mine.yaml"), "retry": ["7m"]},
            }
        )
    )
    (tmp_path / "zone").write_text("\n")
    return path


def test_a_reply_is_explained():
    r = classify(BLOCKED)
    assert r.returncode == 0 and r.stderr == ""
    lines = dict(line.split(None, 1) for line in r.stdout.splitlines())
    assert lines["class"] == "blocked, permanent"
    assert lines["fault"].startswith("path")
    assert lines["rule"].startswith("microsoft-block-list, reply-classes.yaml:")
    assert "`when: blocked`" in lines["then"]


def test_the_place_of_a_rule_is_its_line():
    m = meaning(BLOCKED)
    line = int(m["place"].split(":")[1])
    rules = (harness.ROOT / "src" / "queue" / "reply-classes.yaml").read_text().splitlines()
    assert f"name: {m['rule']}," in rules[line - 1]


def test_json_has_all_of_it():
    m = meaning("421 4.7.28 unusual rate of mail from your DKIM domain", "--mx", GMAIL, "--stage", "dot")
    assert (m["class"], m["fault"], m["limit"], m["permanent"]) == ("throttled", "sender", "dkim", False)
    assert (m["next_rung"], m["otherwise"], m["retry_seconds"]) == ("throttled", "retry", 300)
    assert m["elsewhere"] == []


def test_the_server_makes_a_difference():
    reply = "550 5.7.30 Not today"
    assert meaning(reply, "--mx", GMAIL)["class"] == "policy"
    assert meaning(reply, "--mx", "mx.example.net")["class"] == "tls"
    others = meaning(reply)["elsewhere"]
    assert [(o["class"], o["providers"]) for o in others if "providers" in o] == [("policy", ["google"])]


def test_552_at_rcpt_counts_as_452():
    assert meaning("552 Too many", "--stage", "rcpt")["permanent"] is False
    assert meaning("552 Too many", "--stage", "dot")["permanent"] is True


def test_many_lines_give_a_row_each():
    text = f"{BLOCKED}\r\n\n550-5.1.1 No\n550 5.1.1 such user\n450 4.2.0 Greylisted\n"
    r = classify("-", text=text)
    rows = [line.split() for line in r.stdout.splitlines()]
    assert r.returncode == 0 and rows[0][:2] == ["CLASS", "FAULT"]
    assert [row[0] for row in rows[1:]] == ["blocked", "no_such_user", "greylisted"]
    listed = json.loads(classify("-", "--json", text=text).stdout)
    assert [o["otherwise"] for o in listed] == ["bounce", "bounce", "retry"]
    assert listed[1]["reply"] == "550 5.1.1 No / such user"


def test_what_is_no_refusal_is_said_and_the_rest_goes_on():
    r = classify("-", text="hello\n250 2.0.0 Ok\n550 5.1.1 No such user\n")
    assert r.returncode == 1 and "hello" in r.stderr and "250" not in r.stderr + r.stdout
    assert "no_such_user" in r.stdout
    assert classify("hello").returncode == 1
    assert classify().returncode == 2
    assert classify("550 no", "--stage", "lunch").returncode == 2


def test_rules_of_ones_own_come_first_and_know_the_shipped_providers(tmp_path):
    config = configured(
        tmp_path,
        "rules:\n  - {name: mine, provider: google, enhanced: 4.7.28, class: greylisted, fault: server}\n",
    )
    m = meaning("421 4.7.28 x", "--mx", GMAIL, "-c", config)
    assert (m["rule"], m["class"], m["place"]) == ("mine", "greylisted", f"{tmp_path}/mine.yaml:2")
    assert m["retry_seconds"] == 300  # greylisting has a schedule of its own
    assert meaning("421 4.7.28 x", "-c", config)["class"] == "throttled"
    assert meaning("450 4.3.0 x", "-c", config)["retry_seconds"] == 420


def test_a_wrong_file_is_named(tmp_path):
    config = configured(tmp_path, "rules:\n  - {code: 550, class: bloked}\n")
    r = classify("550 no", "-c", config)
    assert r.returncode == 1 and "mine.yaml:2" in r.stderr
