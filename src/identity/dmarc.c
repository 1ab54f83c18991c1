#include "identity/dmarc.h"

#include <stdarg.h>
#include <stdio.h>

#include "identity/tags.h"

#define WALK_LABELS 8u  /* RFC 9989 section 4.10 */
#define DOMAINS_MAX 5u  /* of From: section 11.5 */

const char *dmarc_word_text(enum dmarc_word word)
{
	static const char *const words[] = { "none", "pass", "fail", "temperror", "permerror" };

	return words[word];
}

static int _printf_(4, 5) decided(struct dmarc_result *result, struct arena *a, enum dmarc_word word, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	result->word = word;
	result->reason = arena_strdup(a, text);
	return result->reason ? 0 : -ENOMEM;
}

/* --- the walk ---------------------------------------------------------------------------------------------------- */

struct finding {
	const char *domain;
	struct dmarc_record record;
};

/* What a walk found, from the longest name to the shortest. */
struct walk {
	const char *start;
	unsigned n;
	struct finding found[WALK_LABELS + 1];
};

static unsigned count_labels(const char *domain)
{
	unsigned n = 1;

	for (; *domain; domain++)
		n += *domain == '.';
	return n;
}

static const char *parent(const char *domain)
{
	const char *dot = strchr(domain, '.');

	return dot ? dot + 1 : NULL;
}

/* The one record at _dmarc.domain: 1, 0, -EAGAIN. Several are none (section 4.10, step 2). */
static int find_record(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, struct dmarc_record *ret)
{
	const char *name = arena_printf(a, "_dmarc.%s", domain);
	struct slice text = SLICE_NULL;
	struct dns_answer answer;
	unsigned n = 0;
	int error;

	if (!name)
		return -ENOMEM;
	error = dns_query(r, name, DNS_TXT, deadline, a, &answer);
	if (error < 0)
		return error;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	for (unsigned i = 0; i < answer.n_records; i++) {
		if (!dmarc_record_is(answer.records[i].data))
			continue;
		text = answer.records[i].data;
		n++;
	}
	if (n != 1)
		return 0;
	dmarc_record_parse(text, ret);
	return 1;
}

/* RFC 9989 section 4.10. 0, -EAGAIN, -ECANCELED, -ENOMEM. */
static int walk_up(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, struct walk *ret)
{
	const char *at = domain;

	ret->start = domain;
	ret->n = 0;
	while (at) {
		struct finding *f = &ret->found[ret->n];
		int found = find_record(r, at, deadline, a, &f->record);

		if (found < 0)
			return found;
		if (found) {
			f->domain = at;
			ret->n++;
			if (f->record.psd != DMARC_PSD_UNKNOWN)
				break;
		}
		at = parent(at);
		while (at && count_labels(at) >= WALK_LABELS)
			at = parent(at);
	}
	return 0;
}

/* The name one label below `above` on the way from start. */
static const char *one_below(const char *start, const char *above)
{
	const char *at = start;

	while (at && parent(at) && strcmp(parent(at), above) != 0)
		at = parent(at);
	return at ? at : start;
}

/* RFC 9989 section 4.10.2. */
static const char *organizational(const struct walk *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct finding *f = &w->found[i];

		if (f->record.psd == DMARC_PSD_NO)
			return f->domain;
		if (f->record.psd == DMARC_PSD_YES && strcmp(f->domain, w->start) != 0)
			return one_below(w->start, f->domain);
	}
	return w->n > 0 ? w->found[w->n - 1].domain : w->start;
}

int dmarc_organizational_domain(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, const char **ret)
{
	struct walk w;
	int error = walk_up(r, domain, deadline, a, &w);

	if (error < 0)
		return error;
	*ret = organizational(&w);
	return 0;
}

/* --- the policy -------------------------------------------------------------------------------------------------- */

/* RFC 9989 section 4.10.1: the record of the Author Domain, else of its organizational domain, else of the public
 * suffix. NULL: there is none. */
static const struct finding *choose(const struct walk *w)
{
	const char *org = organizational(w);

	for (unsigned i = 0; i < w->n; i++)
		if (strcmp(w->found[i].domain, w->start) == 0)
			return &w->found[i];
	for (unsigned i = 0; i < w->n; i++)
		if (strcmp(w->found[i].domain, org) == 0)
			return &w->found[i];
	for (unsigned i = 0; i < w->n; i++)
		if (w->found[i].record.psd == DMARC_PSD_YES)
			return &w->found[i];
	return NULL;
}

/* Does the domain exist (section 3.2.13)? 1, 0, -EAGAIN. */
static int exists(struct resolver *r, const char *domain, usec_t deadline, struct arena *a)
{
	struct dns_answer answer;
	int error = dns_query(r, domain, DNS_A, deadline, a, &answer);

	if (error < 0)
		return error;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	return answer.status != DNS_NXDOMAIN;
}

/* p, sp or np: 0, -EAGAIN... */
static int policy_for(struct resolver *r, const char *author, const struct finding *f, usec_t deadline, struct arena *a,
		      enum dmarc_policy *ret)
{
	const struct dmarc_record *record = &f->record;
	enum dmarc_policy below = record->sp != DMARC_POLICY_ABSENT ? record->sp : record->p;
	int there;

	*ret = record->p;
	if (strcmp(author, f->domain) == 0)
		return 0;
	*ret = below;
	if (record->np == DMARC_POLICY_ABSENT || record->np == below)
		return 0;
	there = exists(r, author, deadline, a);
	if (there == 0)
		*ret = record->np;
	return there < 0 ? there : 0;
}

/* --- alignment ----------------------------------------------------------------------------------------------------- */

struct alignment {
	struct resolver *resolver;
	usec_t deadline;
	struct arena *arena;
	const char *author, *org;
	bool trouble; /* something that might have been aligned could not be judged */
};

/* 1, 0, -errno; trouble with the DNS is noted and means 0. */
static int is_aligned(struct alignment *al, const char *domain, bool strict)
{
	const char *org;
	int r;

	if (slice_ieq(slice_from(domain), slice_from(al->author)))
		return 1;
	/* Who shares an organizational domain with the author lies below it: no need to ask about others. */
	if (strict || !name_is_within(slice_from(domain), slice_from(al->org)))
		return 0;
	r = dmarc_organizational_domain(al->resolver, domain, al->deadline, al->arena, &org);
	if (r == -EAGAIN) {
		al->trouble = true;
		return 0;
	}
	return r < 0 ? r : slice_ieq(slice_from(org), slice_from(al->org));
}

static int align_spf(struct alignment *al, const struct dmarc_input *in, struct dmarc_result *result)
{
	int r;

	if (!in->spf || (in->spf->word != SPF_PASS && in->spf->word != SPF_TEMPERROR))
		return 0;
	r = is_aligned(al, in->spf->domain, result->record.strict_spf);
	if (r > 0 && in->spf->word == SPF_PASS)
		result->spf_aligned = true;
	else if (r > 0)
		al->trouble = true;
	return r < 0 ? r : 0;
}

static int align_dkim(struct alignment *al, const struct dmarc_input *in, struct dmarc_result *result)
{
	for (unsigned i = 0; i < in->n_dkim && !result->dkim_aligned; i++) {
		const struct dkim_result *d = &in->dkim[i];
		int r;

		if (d->word != DKIM_PASS && d->word != DKIM_TEMPERROR)
			continue;
		r = is_aligned(al, d->domain, result->record.strict_dkim);
		if (r < 0)
			return r;
		if (r > 0 && d->word == DKIM_PASS)
			result->dkim_aligned = true;
		else if (r > 0)
			al->trouble = true;
	}
	return 0;
}

static int judge(struct alignment *al, const struct dmarc_input *in, struct dmarc_result *result)
{
	int r = align_dkim(al, in, result);

	if (r >= 0)
		r = align_spf(al, in, result);
	if (r < 0)
		return r;
	if (result->dkim_aligned || result->spf_aligned)
		return decided(result, al->arena, DMARC_PASS, "%s passed and is aligned with %s",
			       result->dkim_aligned && result->spf_aligned ? "DKIM and SPF" : result->dkim_aligned ? "DKIM" : "SPF",
			       al->author);
	if (al->trouble)
		return decided(result, al->arena, DMARC_TEMPERROR, "something that may be aligned with %s could not be judged now", al->author);
	return decided(result, al->arena, DMARC_FAIL, "nothing that passed is aligned with %s", al->author);
}

/* --- one domain, several domains ------------------------------------------------------------------------------------ */

static int check_domain(struct resolver *r, const struct dmarc_input *in, const char *domain, usec_t deadline, struct arena *a,
			struct dmarc_result *result)
{
	struct alignment al = { .resolver = r, .deadline = deadline, .arena = a, .author = domain };
	const struct finding *f;
	struct walk w;
	int error;

	*result = (struct dmarc_result) { .domain = domain, .policy_domain = "" };
	error = walk_up(r, domain, deadline, a, &w);
	if (error == -EAGAIN)
		return decided(result, a, DMARC_TEMPERROR, "the policy of %s can't be had now", domain);
	if (error < 0)
		return error;
	f = choose(&w);
	if (!f)
		return decided(result, a, DMARC_NONE, "there is no DMARC record for %s", domain);
	if (f->record.unusable)
		return decided(result, a, DMARC_NONE, "the DMARC record of %s has no valid policy", f->domain);
	result->policy_domain = f->domain;
	result->record = f->record;
	result->testing = f->record.testing;
	error = policy_for(r, domain, f, deadline, a, &result->policy);
	if (error == -EAGAIN)
		return decided(result, a, DMARC_TEMPERROR, "whether %s exists can't be told now", domain);
	if (error < 0)
		return error;
	al.org = organizational(&w);
	return judge(&al, in, result);
}

/* What is to be told of two verdicts: the failure, of two the one with the stricter policy; then what could not be
 * judged; none after pass only when there is nothing else. */
static bool is_worse(const struct dmarc_result *x, const struct dmarc_result *than)
{
	static const unsigned rank[] = { [DMARC_NONE] = 1, [DMARC_PASS] = 0, [DMARC_FAIL] = 4, [DMARC_TEMPERROR] = 3, [DMARC_PERMERROR] = 2 };

	if (rank[x->word] != rank[than->word])
		return rank[x->word] > rank[than->word];
	return x->policy > than->policy;
}

/* Why no policy can be found by the rules; NULL. */
static int find_trouble(const struct dmarc_input *in, struct arena *a, const char **ret)
{
	*ret = in->trouble ? in->trouble : in->n_domains == 0 ? "From holds no domain" : NULL;
	if (*ret || in->n_domains <= DOMAINS_MAX)
		return 0;
	*ret = arena_printf(a, "From holds %u domains", in->n_domains);
	return *ret ? 0 : -ENOMEM;
}

int dmarc_check(struct resolver *r, const struct dmarc_input *in, usec_t deadline, struct arena *a, struct dmarc_result *ret)
{
	struct dmarc_result worst = { .domain = in->n_domains == 1 ? in->domains[0] : "", .policy_domain = "" };
	const char *trouble;
	int error = find_trouble(in, a, &trouble);

	for (unsigned i = 0; i < MIN(in->n_domains, DOMAINS_MAX) && error >= 0; i++) {
		struct dmarc_result one;

		error = check_domain(r, in, in->domains[i], deadline, a, &one);
		if (error >= 0 && (i == 0 || is_worse(&one, &worst)))
			worst = one;
	}
	/* RFC 9989 section 11.5: a From that breaks the rules must not get past the policy of somebody whom it names. */
	if (error >= 0 && trouble && worst.word != DMARC_FAIL) {
		worst = (struct dmarc_result) { .domain = worst.domain, .policy_domain = "" };
		error = decided(&worst, a, DMARC_PERMERROR, "%s", trouble);
	}
	if (error >= 0)
		*ret = worst;
	return error;
}
