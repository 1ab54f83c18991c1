#include "world/https.h"

#include <curl/curl.h>
#include <stdio.h>

static size_t take_answer(char *data, size_t size, size_t n, void *context)
{
	struct https_post *p = context;

	if (p->answer.len + size * n > p->most) {
		(void) snprintf(p->why, sizeof(p->why), "the answer is longer than %zu octets", p->most);
		return 0;
	}
	buffer_append(&p->answer, data, size * n);
	return buffer_error(&p->answer) < 0 ? 0 : size * n;
}

static void set_up(CURL *curl, struct https_post *p, char *error)
{
	(void) curl_easy_setopt(curl, CURLOPT_URL, p->url);
	(void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	(void) curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the environment has no say in who hears our secrets */
	(void) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	(void) curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	(void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void) curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) (p->timeout / USEC_MS));
	(void) curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) p->form.len);
	(void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, p->form.data);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, p);
	(void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
	(void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "yizhan/" YIZHAN_VERSION);
	if (p->ca_file)
		(void) curl_easy_setopt(curl, CURLOPT_CAINFO, p->ca_file);
	if (p->user) {
		(void) curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
		(void) curl_easy_setopt(curl, CURLOPT_USERNAME, p->user);
		(void) curl_easy_setopt(curl, CURLOPT_PASSWORD, p->password ? p->password : "");
	}
}

int https_post(struct https_post *p)
{
	CURL *curl = curl_easy_init();
	char error[CURL_ERROR_SIZE] = "";
	CURLcode r;

	if (!curl)
		return -ENOMEM;
	set_up(curl, p, error);
	r = curl_easy_perform(curl);
	(void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &p->status);
	curl_easy_cleanup(curl);
	if (buffer_error(&p->answer) < 0)
		return -ENOMEM;
	if (r == CURLE_OK)
		return 0;
	if (!p->why[0])
		(void) snprintf(p->why, sizeof(p->why), "%s", error[0] ? error : curl_easy_strerror(r));
	return -EAGAIN;
}

/* The rules of application/x-www-form-urlencoded; a space may be "%20" as well as "+". */
void https_form_add(struct buffer *form, const char *name, struct slice value)
{
	if (form->len > 0)
		buffer_append_char(form, '&');
	buffer_append_str(form, name);
	buffer_append_char(form, '=');
	for (size_t i = 0; i < value.len; i++) {
		char c = value.data[i];

		if (ascii_is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~')
			buffer_append_char(form, c);
		else
			buffer_printf(form, "%%%02X", (unsigned) (unsigned char) c);
	}
}

int https_begin(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -ENOMEM;
}

void https_end(void)
{
	curl_global_cleanup();
}
