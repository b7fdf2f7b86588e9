/* What a node says of itself, over a store that says what the test wants. */
#include "fs/control.h"
#include "fs/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct store_stats stats;
static enum err stats_fail, user_fail;

enum err
store_stats(struct store *s, struct store_stats *out)
{
	(void)s;
	*out = stats;
	return stats_fail;
}

enum err
store_user_stats(
    struct store *s, unsigned user_index, struct store_user_stats *out)
{
	(void)s;
	memset(out, 0, sizeof(*out));
	snprintf(out->address, sizeof(out->address), "user%u@rice.example",
	    user_index);
	out->messages = 10 + user_index;
	out->head_sequence = 7;
	out->record_sequence = 70;
	memset(out->device.b, 0xab, ID_BYTES);
	return user_index == 1 ? user_fail : OK;
}

static struct home_keys keys;
static struct status_about about;

static int
begin(void **state)
{
	(void)state;
	memset(&keys, 0, sizeof(keys));
	keys.users = 2;
	memset(keys.node_id.b, 0x0f, ID_BYTES);
	about = (struct status_about){ .mountpoint = "/post",
		.since_ns = 1793491200000000000,
		.keys = &keys };
	stats = (struct store_stats){ .blocks = 3,
		.stored_bytes = 1536,
		.logical_bytes = 5000,
		.limit_bytes = 1 << 30,
		.messages = 21,
		.checkpoints = 4 };
	stats_fail = user_fail = OK;
	return 0;
}

/* The JSON, to be freed. */
static char *
status_json(void)
{
	char *text;

	assert_int_equal(status_text(NULL, &about, true, &text), OK);
	assert_int_equal(text[0], '{');
	assert_string_equal(text + strlen(text) - 2, "}\n");
	return text;
}

/* `part` stands in the object (or list) that `key` begins. */
static void
assert_in(const char *json, const char *key, const char *part)
{
	const char *at = strstr(json, key), *found;

	assert_non_null(at);
	found = strstr(at, part);
	if (!found || found > at + strcspn(at, "]}"))
		fail_msg("no %s in %s", part, at);
}

static void
the_json_has_what_scripts_rely_on(void **state)
{
	char *json = status_json(), *second;

	(void)state;
	assert_in(json, "\"node\": {", "\"id\": \"0f0f0f0f");
	assert_in(json, "\"node\": {", "\"version\": \"" POST_VERSION "\"");
	assert_in(json, "\"node\": {", "\"listen\": null");
	assert_in(json, "\"mount\": {", "\"path\": \"/post\"");
	assert_in(json, "\"mount\": {", "\"since\": \"2026-11-01T00:00:00Z\"");
	assert_in(json, "\"users\": [", "\"address\": \"user0@rice.example\"");
	second = strstr(json, "\"address\": \"user1@rice.example\"");
	assert_non_null(second);
	assert_in(second, "\"address\"", "\"device\": \"abababab");
	assert_in(second, "\"address\"", "\"messages\": 11");
	assert_in(second, "\"address\"", "\"head_sequence\": 7");
	assert_in(json, "\"store\": {", "\"blocks\": 3,");
	assert_in(json, "\"store\": {", "\"stored_bytes\": 1536,");
	assert_in(json, "\"store\": {", "\"logical_bytes\": 5000,");
	assert_in(json, "\"store\": {", "\"limit_bytes\": 1073741824");
	assert_in(json, "\"replication\": {", "\"wanted\": 1");
	assert_in(json, "\"replication\": {", "\"lag_blocks\": 0");
	assert_in(json, "\"replication\": {", "\"under_replicated\": 0");
	assert_non_null(strstr(json, "\"peers\": 0"));
	free(json);
}

static void
without_a_mount_there_is_none_in_it(void **state)
{
	char *json, *text;

	(void)state;
	about.mountpoint = NULL;
	json = status_json();
	assert_non_null(strstr(json, "\"mount\": null"));
	free(json);
	assert_int_equal(status_text(NULL, &about, false, &text), OK);
	assert_non_null(strstr(text, "mount        none\n"));
	free(text);
}

static void
people_read_the_same_facts(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(status_text(NULL, &about, false, &text), OK);
	assert_non_null(strstr(text, "user0@rice.example: 10 messages"));
	assert_non_null(strstr(text, "3 blocks in 1.5 KiB hold 4.8 KiB"));
	assert_non_null(strstr(text, "limit 1.0 GiB"));
	free(text);
}

static void
a_number_beyond_json_is_its_largest(void **state)
{
	char *json;

	(void)state;
	stats.blocks = UINT64_MAX;
	json = status_json();
	assert_non_null(strstr(json, "\"blocks\": 9223372036854775807"));
	free(json);
}

static void
what_the_store_refuses_is_passed_on(void **state)
{
	char *text = NULL;
	size_t len;

	(void)state;
	stats_fail = ERR_IO;
	assert_int_equal(status_text(NULL, &about, true, &text), ERR_IO);
	assert_int_equal(
	    control_text(NULL, &about, CONTROL_METRICS, &text, &len), ERR_IO);
	stats_fail = OK;
	user_fail = ERR_CORRUPT;
	assert_int_equal(status_text(NULL, &about, false, &text), ERR_CORRUPT);
	assert_null(text);
}

static void
every_control_file_has_a_name_and_a_text(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CONTROL_FILES; i++) {
		size_t len;
		char *text;

		assert_int_equal(control_find(control_name(i)), i);
		assert_int_equal(
		    control_text(NULL, &about, i, &text, &len), OK);
		assert_int_equal(strlen(text), len);
		assert_int_equal(text[len - 1], '\n');
		free(text);
	}
	assert_null(control_name(CONTROL_FILES));
	assert_int_equal(control_find("nonsense"), CONTROL_FILES);
	assert_int_equal(control_find(""), CONTROL_FILES);
}

/* Each line is "# TYPE", "# UNIT", "# HELP" or a sample of the family that the
 * last TYPE began; the end is marked. */
static void
metrics_are_openmetrics_text(void **state)
{
	char *text, *line, *save = NULL, family[100] = "";
	size_t len;
	unsigned samples = 0;

	(void)state;
	assert_int_equal(
	    control_text(NULL, &about, CONTROL_METRICS, &text, &len), OK);
	assert_string_equal(text + len - 6, "# EOF\n");
	assert_non_null(strstr(text, "\npost_checkpoints_total 4\n"));
	assert_non_null(strstr(text, "\npost_messages 21\n"));
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "# TYPE %99s", family) == 1)
			continue;
		if (line[0] == '#')
			continue;
		assert_memory_equal(line, family, strlen(family));
		assert_memory_equal(line, "post_", 5);
		samples++;
	}
	assert_true(samples > 10);
	free(text);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_json_has_what_scripts_rely_on),
		TEST(without_a_mount_there_is_none_in_it),
		TEST(people_read_the_same_facts),
		TEST(a_number_beyond_json_is_its_largest),
		TEST(what_the_store_refuses_is_passed_on),
		TEST(every_control_file_has_a_name_and_a_text),
		TEST(metrics_are_openmetrics_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
