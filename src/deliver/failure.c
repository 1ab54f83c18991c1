#include "deliver/failure.h"

static const char out_of_memory[] = "out of memory";

const char *remote_name(const struct remote *remote, struct arena *a)
{
	char ip[IP_TEXT];
	const char *text;

	if (remote->ip.family == 0)
		return remote->host ? remote->host : "the server";
	ip_format(&remote->ip, ip);
	text = remote->host ? arena_printf(a, "%s [%s]", remote->host, ip) : arena_printf(a, "[%s]", ip);
	return text ? text : out_of_memory;
}

void failure_local(struct outcome *ret, enum stage stage, enum reply_class class, int code, int subject, int detail,
		   const char *text)
{
	*ret = (struct outcome) {
		.kind = code >= 500 ? OUTCOME_FAILED : OUTCOME_DEFERRED,
		.stage = stage,
		.class = class,
		.reply = { code, { code / 100, subject, detail }, text ? text : out_of_memory },
	};
}

void outcome_about(struct outcome *o, const struct remote *remote)
{
	o->host = remote->host;
	o->ip = remote->ip;
	o->tls = remote->tls;
	o->tls_wanted = remote->tls_wanted;
	o->tls_reached = remote->tls_reached;
	o->source = remote->source;
}

void failure_reply(struct outcome *ret, enum stage stage, const struct remote *remote, const struct reply *reply)
{
	*ret = (struct outcome) {
		/* Something that is no refusal where it can't be meant as consent is a confused server: later. */
		.kind = REPLY_PERMANENT(reply) ? OUTCOME_FAILED : OUTCOME_DEFERRED,
		.stage = stage,
		.from_remote = true,
		.reply = *reply,
	};
	outcome_about(ret, remote);
	/* A status of success would make a strange notification (RFC 3464 section 2.3.4). */
	if (reply->code < 400 && !(stage == STAGE_DOT && REPLY_OK(reply)))
		memset(ret->reply.enhanced, 0, sizeof(ret->reply.enhanced));
	/* RFC 5321 section 4.5.3.1.10: 552 to RCPT was once the reply for too many recipients, and counts as 452. */
	if (stage == STAGE_RCPT && reply->code == 552)
		ret->kind = OUTCOME_DEFERRED;
}

bool reply_may_mean_surplus(const struct reply *reply)
{
	return (reply->code == 452 || reply->code == 552) &&
	       (reply->enhanced[0] == 0 || (reply->enhanced[1] == 5 && reply->enhanced[2] == 3));
}

static const char *what_we_did(enum stage stage)
{
	switch (stage) {
	case STAGE_DNS:
		return "looking up its address";
	case STAGE_CONNECT:
		return "connecting";
	case STAGE_GREETING:
		return "waiting for its greeting";
	case STAGE_EHLO:
		return "introducing ourselves";
	case STAGE_STARTTLS:
		return "starting TLS";
	case STAGE_AUTH:
		return "logging in";
	case STAGE_MAIL:
		return "naming the sender";
	case STAGE_RCPT:
		return "naming the recipients";
	case STAGE_DATA:
		return "sending the message";
	case STAGE_DOT:
		return "waiting for its reply to the message";
	case STAGE_LOCAL:
		break;
	}
	return "delivering";
}

static const char *what_happened(int error, char *buffer, size_t size)
{
	switch (error) {
	case -ETIMEDOUT:
		return "it did not answer in time";
	case -ECONNREFUSED:
		return "the connection was refused";
	case -ENODATA:
	case -ECONNRESET:
	case -EPIPE:
		return "the connection was closed";
	case -EPROTO:
	case -E2BIG:
	case -EBADMSG:
		return "what it said is not SMTP";
	case -ETIME:
		return "it took longer than a whole attempt may take";
	case -EALREADY:
		return "it answered more than it was asked";
	case -ECANCELED:
		return "the server stopped";
	default:
		return strerror_r(-error, buffer, size);
	}
}

void failure_connection(struct outcome *ret, enum stage stage, const struct remote *remote, int error, struct arena *a)
{
	failure_connection_because(ret, stage, remote, error, NULL, a);
}

void failure_connection_because(struct outcome *ret, enum stage stage, const struct remote *remote, int error, const char *why,
				struct arena *a)
{
	bool protocol = error == -EPROTO || error == -E2BIG || error == -EBADMSG || error == -EALREADY;
	bool early = stage <= STAGE_AUTH;
	char buffer[128];
	const char *text = arena_printf(a, "%s, while %s: %s", remote_name(remote, a), what_we_did(stage),
					why ? why : what_happened(error, buffer, sizeof(buffer)));

	if (error == -ENOMEM)
		failure_local(ret, stage, CLASS_OTHER, 451, 3, 0, NULL);
	else if (protocol)
		failure_local(ret, stage, CLASS_OTHER, 451, 5, 0, text);
	else if (stage <= STAGE_CONNECT)
		failure_local(ret, stage, CLASS_UNREACHABLE, 451, 4, 1, text);
	else
		/* RFC 1047: once the dot is out, the message may have been taken. It is sent again, to the same
		 * site; no other way is tried as if it had been unreachable. */
		failure_local(ret, stage, stage == STAGE_DOT ? CLASS_OTHER : CLASS_UNREACHABLE, 451, 4, 2, text);
	if (error == -ECANCELED)
		ret->kind = OUTCOME_NONE;
	ret->site_fault = early && error != -ECANCELED && error != -ENOMEM;
	outcome_about(ret, remote);
}

void outcome_copy(const struct outcome *from, struct arena *a, struct outcome *ret)
{
	struct outcome o = *from;

	o.reply.text = arena_strdup(a, from->reply.text);
	if (!o.reply.text)
		o.reply.text = out_of_memory;
	o.host = arena_strdup(a, from->host);
	o.tls = arena_strdup(a, from->tls);
	o.tls_wanted = arena_strdup(a, from->tls_wanted);
	o.tls_reached = arena_strdup(a, from->tls_reached);
	o.source = arena_strdup(a, from->source);
	*ret = o;
}

void failure_spread(const struct outcome *from, struct delivery *d)
{
	struct outcome copy;

	outcome_copy(from, d->arena, &copy);
	for (unsigned i = 0; i < d->n_recipients; i++)
		if (d->recipients[i].outcome.kind == OUTCOME_NONE)
			d->recipients[i].outcome = copy;
}
