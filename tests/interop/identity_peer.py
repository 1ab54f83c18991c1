"""What dkimpy, pyspf and authres say, for test_identity.py: a list of jobs as JSON on standard input, their results on
standard output. It runs with the Python that Debian's packages belong to."""

import base64
import json
import sys

zone = {}


class Trouble(Exception):
    pass


def txt(name, timeout=5):
    name = (name.decode() if isinstance(name, bytes) else name).rstrip(".").lower()
    records = zone.get(name, {}).get("TXT", [])
    return records[0].encode() if records else None


def job_sign(job):
    import dkim

    header, body = job["canon"].split("/")
    return latin(
        dkim.sign(
            job["message"].encode("latin-1"),
            job["selector"].encode(),
            job["domain"].encode(),
            key(job),
            canonicalize=(header.encode(), body.encode()),
            signature_algorithm=job["algorithm"].encode(),
            length=job.get("length", False),
        )
        + job["message"].encode("latin-1")
    )


def key(job):
    return base64.b64decode(job["key"]) if job["algorithm"] == "rsa-sha256" else job["key"].encode()


def latin(data):
    return data.decode("latin-1")


def job_verify(job):
    import dkim

    message = job["message"].encode("latin-1")
    verdicts = []
    for i in range(job["signatures"]):
        try:
            verdicts.append(bool(dkim.DKIM(message).verify(idx=i, dnsfunc=txt)))
        except dkim.DKIMException:
            verdicts.append(False)
    return verdicts


def job_arc_sign(job):
    import dkim

    message = job["message"].encode("latin-1")
    fields = dkim.arc_sign(
        message, job["selector"].encode(), job["domain"].encode(), key(job), job["authserv"].encode(),
        signature_algorithm=job["algorithm"].encode(), standardize=False,
    )
    return latin(b"".join(fields) + message)


def job_arc_verify(job):
    import dkim

    return latin(dkim.arc_verify(job["message"].encode("latin-1"), dnsfunc=txt)[0])


def job_spf(job):
    import spf

    def look_up(name, qtype, *rest, **more):
        records = zone.get(name.rstrip(".").lower(), {})
        if qtype not in records:
            if "TIMEOUT" in records:
                raise spf.TempError("DNS timeout")
            return []
        if qtype == "TXT":
            return [((name, qtype), [r.encode("latin-1")]) for r in records[qtype]]
        return [((name, qtype), tuple(r) if isinstance(r, list) else r) for r in records[qtype]]

    spf.DNSLookup = look_up
    q = spf.query(i=job["client"], s=job["from"], h=job["helo"], receiver="mx.test", timeout=20)
    return q.check()[0]


def job_authres(job):
    import authres

    field = authres.AuthenticationResultsHeader.parse(job["field"])
    return [field.authserv_id, [[r.method, r.result] for r in field.results]]


def main():
    global zone
    given = json.load(sys.stdin)
    zone = given["zone"]
    json.dump([globals()["job_" + j["do"]](j) for j in given["jobs"]], sys.stdout)


main()
