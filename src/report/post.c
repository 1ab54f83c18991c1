#include "report/post.h"

#include <curl/curl.h>
#include <stdio.h>

#define ADDRESSES_MAX 4u
#define CONNECT_TIME (20 * USEC_SEC)
#define WHOLE_TIME (2 * USEC_MIN)
#define ANSWER_MAX (64u * 1024)

struct posting {
	const struct report_post *post;
	const char *resolve; /* "host:port:address,address" */
	size_t answered;
	char *why;
};

/* What it answers is of no interest, and bounded. */
static size_t swallow(char *data, size_t size, size_t n, void *context)
{
	struct posting *p = context;

	p->answered += size * n;
	return p->answered > ANSWER_MAX ? 0 : size * n;
}

/* Not 0 ends the transfer: a server that stops doesn't wait for a stranger's. */
static int look_up_from_work(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct posting *p = context;

	return p->post->stopping && atomic_load(p->post->stopping);
}

static void set_up(CURL *curl, struct posting *p, struct curl_slist *headers, struct curl_slist *resolve)
{
	const struct report_post *post = p->post;

	(void) curl_easy_setopt(curl, CURLOPT_URL, post->uri->text);
	(void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	(void) curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	(void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void) curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* nobody's environment decides where reports go */
	(void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long) (CONNECT_TIME / USEC_MS));
	(void) curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) (WHOLE_TIME / USEC_MS));
	(void) curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	(void) curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_up_from_work);
	(void) curl_easy_setopt(curl, CURLOPT_XFERINFODATA, p);
	(void) curl_easy_setopt(curl, CURLOPT_POST, 1L);
	(void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post->report.data);
	(void) curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) post->report.len);
	(void) curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	(void) curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, p);
	(void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, p->why);
	(void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "yizhan/" YIZHAN_VERSION);
	if (post->ca_file)
		(void) curl_easy_setopt(curl, CURLOPT_CAINFO, post->ca_file);
}

static int perform(CURL *curl, struct posting *p)
{
	CURLcode r = curl_easy_perform(curl);
	long status = 0;

	(void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (r == CURLE_OK && status >= 200 && status < 300)
		return 0;
	if (r == CURLE_OK)
		snprintf(p->why, POST_WHY, "it answers with status %ld", status);
	else if (!p->why[0])
		snprintf(p->why, POST_WHY, "%s", curl_easy_strerror(r));
	return -EAGAIN;
}

/* On a worker. */
static int post(void *arg)
{
	struct posting *p = arg;
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/tlsrpt+gzip");
	struct curl_slist *resolve = curl_slist_append(NULL, p->resolve);
	CURL *curl = curl_easy_init();
	int r = -ENOMEM;

	static_assert(POST_WHY >= CURL_ERROR_SIZE, "curl's own words fit");
	if (curl && headers && resolve) {
		set_up(curl, p, headers, resolve);
		r = perform(curl, p);
	}
	if (curl)
		curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	curl_slist_free_all(resolve);
	return r;
}

/* Adds the addresses of one type; 0, -ECANCELED, -ENOMEM. */
static int look_up(struct resolver *r, const struct report_post *p, enum dns_type type, usec_t deadline, struct arena *a,
		   struct buffer *out, unsigned *n, bool *private, bool *trouble)
{
	struct dns_answer answer;
	int e = dns_query(r, p->uri->host, type, deadline, a, &answer);

	if (e < 0)
		return e;
	if (DNS_STATUS_TEMPORARY(answer.status))
		*trouble = true;
	for (unsigned i = 0; i < answer.n_records && *n < ADDRESSES_MAX; i++) {
		char text[IP_TEXT];

		if (!p->private_hosts && !ip_is_public(&answer.records[i].ip)) {
			*private = true;
			continue;
		}
		buffer_printf(out, "%s%s", (*n)++ ? "," : "", ip_format(&answer.records[i].ip, text));
	}
	return 0;
}

int report_post(struct resolver *r, const struct report_post *p, usec_t deadline, struct arena *a, char why[static POST_WHY])
{
	_cleanup_buffer_ struct buffer resolve = { 0 };
	struct posting posting = { .post = p, .why = why };
	bool private = false, trouble = false;
	unsigned n = 0;
	int e;

	why[0] = '\0';
	buffer_printf(&resolve, "%s:%u:", p->uri->host, p->uri->port);
	e = look_up(r, p, DNS_A, deadline, a, &resolve, &n, &private, &trouble);
	if (e >= 0)
		e = look_up(r, p, DNS_AAAA, deadline, a, &resolve, &n, &private, &trouble);
	if (e < 0)
		return e;
	if (buffer_error(&resolve) < 0)
		return -ENOMEM;
	if (!n && private && !trouble) {
		snprintf(why, POST_WHY, "its name leads to a private address");
		return -EPERM;
	}
	if (!n) {
		snprintf(why, POST_WHY, "the DNS has no address for it%s", trouble ? " now" : "");
		return -EAGAIN;
	}
	posting.resolve = resolve.data;
	return world_offload(r->world, post, &posting);
}
