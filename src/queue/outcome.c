#include "queue/outcome.h"

static const char *const class_names[] = {
	[CLASS_NONE] = "none",
	[CLASS_BLOCKED] = "blocked",
	[CLASS_THROTTLED] = "throttled",
	[CLASS_GREYLISTED] = "greylisted",
	[CLASS_MAILBOX_FULL] = "mailbox_full",
	[CLASS_NO_SUCH_USER] = "no_such_user",
	[CLASS_SPAM_CONTENT] = "spam_content",
	[CLASS_TLS] = "tls",
	[CLASS_AUTH] = "auth",
	[CLASS_POLICY] = "policy",
	[CLASS_TOO_BIG] = "too_big",
	[CLASS_OTHER] = "other",
	[CLASS_UNREACHABLE] = "unreachable",
};

static const char *const stage_names[] = {
	[STAGE_DNS] = "dns",   [STAGE_CONNECT] = "connect",   [STAGE_GREETING] = "greeting",
	[STAGE_EHLO] = "ehlo", [STAGE_STARTTLS] = "starttls", [STAGE_AUTH] = "auth",
	[STAGE_MAIL] = "mail", [STAGE_RCPT] = "rcpt",	      [STAGE_DATA] = "data",
	[STAGE_DOT] = "dot",   [STAGE_LOCAL] = "local",
};

const char *reply_class_name(enum reply_class c)
{
	return (size_t) c < ARRAY_LEN(class_names) ? class_names[c] : "other";
}

int reply_class_from_name(struct slice name, enum reply_class *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(class_names); i++) {
		if (!slice_eq_str(name, class_names[i]))
			continue;
		*ret = (enum reply_class) i;
		return 0;
	}
	return -EINVAL;
}

const char *stage_name(enum stage s)
{
	return (size_t) s < ARRAY_LEN(stage_names) ? stage_names[s] : "unknown";
}

int stage_from_name(struct slice name, enum stage *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(stage_names); i++) {
		if (!slice_eq_str(name, stage_names[i]))
			continue;
		*ret = (enum stage) i;
		return 0;
	}
	return -EINVAL;
}
