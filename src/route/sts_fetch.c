/* One policy by HTTPS (RFC 8461 section 3.3), by libcurl. */
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "route/sts.h"

#define CONNECT_TIME (10 * USEC_SEC)

static size_t take_body(char *data, size_t size, size_t n, void *context)
{
	struct sts_fetch *f = context;

	if (f->body.len + size * n > STS_POLICY_MAX) {
		(void) snprintf(f->why, sizeof(f->why), "the policy is longer than 64 KB");
		return 0;
	}
	buffer_append(&f->body, data, size * n);
	return buffer_error(&f->body) < 0 ? 0 : size * n;
}

/* Section 3.3: only DNS names of the certificate count, not its common name; "*" is a whole label. */
static CURLcode check_names(CURL *curl, void *ssl_ctx, void *context)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ssl_ctx);

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, context, 0) == 1 ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

/* "mta-sts.example.org:443:192.0.2.1,[2001:db8::1]": our own resolver has been asked. */
static struct curl_slist *resolved(const struct sts_fetch *f, const char *host, unsigned port)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	char ip[IP_TEXT];

	buffer_printf(&b, "%s:%u:", host, port);
	for (unsigned i = 0; i < f->n_ips; i++)
		buffer_printf(&b, "%s%s%s%s", i ? "," : "", f->ips[i].family == 6 ? "[" : "", ip_format(&f->ips[i], ip),
			      f->ips[i].family == 6 ? "]" : "");
	return buffer_error(&b) < 0 ? NULL : curl_slist_append(NULL, b.data);
}

static void set_up(CURL *curl, struct sts_fetch *f, const char *url, const char *host, char *error, struct curl_slist *addresses)
{
	const struct sts_config *c = f->config;
	usec_t timeout = c->timeout ? c->timeout : USEC_MIN;

	(void) curl_easy_setopt(curl, CURLOPT_URL, url);
	(void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	(void) curl_easy_setopt(curl, CURLOPT_RESOLVE, addresses);
	(void) curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the environment has no say in whom we believe */
	(void) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	(void) curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	(void) curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, check_names);
	(void) curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, (void *) (uintptr_t) host);
	(void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long) (MIN(timeout, CONNECT_TIME) / USEC_MS));
	(void) curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) (timeout / USEC_MS));
	(void) curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, (long) STS_POLICY_MAX);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, f);
	(void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
	(void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "yizhan/" YIZHAN_VERSION);
	if (c->ca_file)
		(void) curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file);
}

static bool is_plain_text(const char *type)
{
	struct slice rest;

	return type && slice_ieq_str(slice_trim(slice_cut(slice_from(type), ';', &rest)), "text/plain");
}

/* The transfer is over: is it a policy? */
static enum sts_trouble judge(CURL *curl, struct sts_fetch *f)
{
	char *type = NULL;
	long status = 0;

	(void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	(void) curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	if (status >= 300 && status < 400)
		(void) snprintf(f->why, sizeof(f->why), "the server redirects (status %ld), which is not followed", status);
	else if (status != 200)
		(void) snprintf(f->why, sizeof(f->why), "the server answers with status %ld", status);
	else if (!is_plain_text(type))
		(void) snprintf(f->why, sizeof(f->why), "the content type is %.64s and not text/plain", type ? type : "missing");
	else
		return STS_FETCHED;
	return STS_UNREACHABLE;
}

static enum sts_trouble fetch(CURL *curl, struct sts_fetch *f, const char *url, const char *host, struct curl_slist *addresses)
{
	char error[CURL_ERROR_SIZE] = "";
	CURLcode r;

	set_up(curl, f, url, host, error, addresses);
	r = curl_easy_perform(curl);
	if (r == CURLE_OK)
		return judge(curl, f);
	if (!f->why[0])
		(void) snprintf(f->why, sizeof(f->why), "%s", error[0] ? error : curl_easy_strerror(r));
	return r == CURLE_PEER_FAILED_VERIFICATION ? STS_BAD_CERTIFICATE : STS_UNREACHABLE;
}

enum sts_trouble sts_fetch_https(struct sts_fetch *f)
{
	unsigned port = f->config->port ? f->config->port : 443;
	CURL *curl = curl_easy_init();
	enum sts_trouble trouble = STS_UNREACHABLE;
	struct curl_slist *addresses = NULL;
	char url[400], host[300];

	(void) snprintf(host, sizeof(host), "mta-sts.%s", f->domain);
	(void) snprintf(url, sizeof(url), "https://%s:%u/.well-known/mta-sts.txt", host, port);
	if (curl)
		addresses = resolved(f, host, port);
	if (addresses)
		trouble = fetch(curl, f, url, host, addresses);
	else
		(void) snprintf(f->why, sizeof(f->why), "out of memory");
	curl_slist_free_all(addresses);
	curl_easy_cleanup(curl);
	return trouble;
}

void sts_fetch_begin(void)
{
	(void) curl_global_init(CURL_GLOBAL_DEFAULT);
}

void sts_fetch_end(void)
{
	curl_global_cleanup();
}
