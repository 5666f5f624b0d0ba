/*
 * bench_gets: bare range GETs, one after another on one connection: what no lazy reader can beat.
 *
 *   bench_gets URL_PREFIX < ranges      lines "BLOB FIRST LAST" (inclusive)
 * Prints milliseconds of p50 and p99.
 */
#include "clock.h"
#include "mem.h"
#include "times.h"
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_MAX_BYTES 512
#define GETS_MAX      100000U

static size_t drop(char *bytes, size_t one, size_t size_bytes, void *arg)
{
	(void)bytes;
	(void)one;
	(void)arg;
	return size_bytes;
}

/* line: "BLOB FIRST LAST" */
static int get(CURL *curl, const char *prefix, char *line, uint64_t *ret_took_ns)
{
	char url[URL_MAX_BYTES];
	char *range = strchr(line, ' ');
	char *dash = range == NULL ? NULL : strchr(range + 1, ' ');
	const uint64_t start_ns = clock_now_ns(clock_real());
	long status = 0;

	if (dash == NULL)
		return -1;
	*range = '\0';
	*dash = '-';
	dash[strcspn(dash, "\n")] = '\0';
	(void)snprintf(url, sizeof(url), "%s%s", prefix, line);
	(void)curl_easy_setopt(curl, CURLOPT_URL, url);
	(void)curl_easy_setopt(curl, CURLOPT_RANGE, range + 1);
	if (curl_easy_perform(curl) != CURLE_OK)
		return -1;
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	*ret_took_ns = clock_now_ns(clock_real()) - start_ns;
	return status == 206 ? 0 : -1;
}

int main(int argc, char **argv)
{
	CURL *curl = curl_easy_init();
	uint64_t *took_ns = xcalloc(GETS_MAX, sizeof(*took_ns));
	char line[URL_MAX_BYTES];
	uint32_t n = 0;

	if (argc != 2 || curl == NULL)
		return 2;
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
	while (n < GETS_MAX && fgets(line, sizeof(line), stdin) != NULL) {
		if (get(curl, argv[1], line, &took_ns[n]) < 0) {
			(void)fprintf(stderr, "bench_gets: GET failed: %s\n", line);
			return 1;
		}
		n++;
	}
	if (n == 0)
		return 1;
	times_print(took_ns, n);
	free(took_ns);
	curl_easy_cleanup(curl);
	return 0;
}
