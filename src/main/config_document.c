/* What the table of keys says, for editors (JSON Schema) and for people. */
#include <jansson.h>
#include <stdlib.h>

#include "main/config_schema.h"

/* --- JSON Schema ------------------------------------------------------------------------------------------- */

static json_t *section_schema(const char *section, const char *doc);

static json_t *one_or_many(json_t *item)
{
	return json_pack("{s:[o,{s:s,s:O}]}", "anyOf", item, "type", "array", "items", item);
}

static json_t *words_schema(const struct config_key *key)
{
	json_t *words = json_array();

	for (unsigned i = 0; key->choices[i]; i++)
		json_array_append_new(words, json_string(key->choices[i]));
	return json_pack("{s:o}", "enum", words);
}

static json_t *text_schema(const char *pattern)
{
	json_t *schema = json_pack("{s:[s,s]}", "type", "string", "number");

	if (pattern)
		json_object_set_new(schema, "pattern", json_string(pattern));
	return schema;
}

/* What a ladder is made of: words and maps. */
static json_t *via_schema(void)
{
	json_t *rung = json_pack("{s:[{s:[s,s,s]},o]}", "anyOf", "enum", "mx", "hold", "discard",
				 section_schema("routes[].via[]", NULL));

	return one_or_many(rung);
}

/* Lists of sections by names that the user chooses. */
static json_t *sources_schema(void)
{
	return json_pack("{s:s,s:o}", "type", "object", "additionalProperties", one_or_many(section_schema("sources{}[]", NULL)));
}

static json_t *value_schema(const struct config_key *key)
{
	static const char duration[] = "^([0-9]+(ms|s|m|h|d)?)+$";
	char section[128];

	switch (key->type) {
	case CONFIG_TYPE_BOOL:
	case CONFIG_TYPE_NOT:
		return json_pack("{s:s}", "type", "boolean");
	case CONFIG_TYPE_UINT:
	case CONFIG_TYPE_PORT:
		return json_pack("{s:s,s:I}", "type", "integer", "minimum", (json_int_t) key->min);
	case CONFIG_TYPE_SIZE:
		return text_schema("^[0-9]+ *([KMGTkmgt](i?[Bb])?|[Bb])?$");
	case CONFIG_TYPE_DURATION:
		return text_schema(key->with_never ? "^(never|([0-9]+(ms|s|m|h|d)?)+)$" : duration);
	case CONFIG_TYPE_DURATIONS:
		return one_or_many(text_schema(duration));
	case CONFIG_TYPE_CHOICE:
	case CONFIG_TYPE_WORD:
		return words_schema(key);
	case CONFIG_TYPE_STRINGS:
	case CONFIG_TYPE_PATTERNS:
	case CONFIG_TYPE_CIDRS:
	case CONFIG_TYPE_IPS:
	case CONFIG_TYPE_ENDPOINTS:
		return one_or_many(text_schema(NULL));
	case CONFIG_TYPE_SECTION: {
		json_t *schema = section_schema(key->path, NULL);

		return key->scalar_key ? json_pack("{s:[{s:s},o]}", "anyOf", "type", "string", schema) : schema;
	}
	case CONFIG_TYPE_LIST:
		snprintf(section, sizeof(section), "%s[]", key->path);
		return json_pack("{s:s,s:o}", "type", "array", "items", section_schema(section, NULL));
	case CONFIG_TYPE_NAMED:
		snprintf(section, sizeof(section), "%s{}", key->path);
		return json_pack("{s:s,s:o}", "type", "object", "additionalProperties", section_schema(section, NULL));
	case CONFIG_TYPE_NODE:
		return strcmp(key->path, "routes[].via") == 0 ? via_schema()
		       : strcmp(key->path, "sources") == 0    ? sources_schema()
							      : json_object();
	default:
		return text_schema(NULL);
	}
}

static json_t *default_value(const struct config_key *key)
{
	if (key->type == CONFIG_TYPE_UINT || key->type == CONFIG_TYPE_PORT)
		return json_integer(atoll(key->fallback));
	if (key->type == CONFIG_TYPE_BOOL || key->type == CONFIG_TYPE_NOT)
		return json_boolean(strcmp(key->fallback, "true") == 0);
	return json_string(key->fallback);
}

static json_t *section_schema(const char *section, const char *doc)
{
	json_t *properties = json_object(), *required = json_array();
	json_t *schema = json_pack("{s:s,s:o,s:b}", "type", "object", "properties", properties, "additionalProperties", 0);

	for (size_t i = 0; i < config_n_keys; i++) {
		const struct config_key *key = &config_keys[i];
		const char *name = config_key_child(key, section);
		json_t *value;

		if (!name)
			continue;
		value = value_schema(key);
		json_object_set_new(value, "description", json_string(key->doc));
		if (key->fallback)
			json_object_set_new(value, "default", default_value(key));
		json_object_set_new(properties, name, value);
		if (key->required)
			json_array_append_new(required, json_string(name));
	}
	if (json_array_size(required))
		json_object_set_new(schema, "required", required);
	else
		json_decref(required);
	if (doc)
		json_object_set_new(schema, "description", json_string(doc));
	return schema;
}

char *config_json_schema(void)
{
	json_t *schema = section_schema("", "The configuration of Yizhan, a mail transfer agent");
	json_t *head = json_pack("{s:s,s:s}", "$schema", "http://json-schema.org/draft-07/schema#", "title", "yizhan.yaml");
	char *text = NULL;

	if (schema && head && json_object_update(head, schema) == 0)
		text = json_dumps(head, JSON_INDENT(2));
	json_decref(schema);
	json_decref(head);
	return text;
}

/* --- for people --------------------------------------------------------------------------------------------- */

char *config_keys_text(void)
{
	struct buffer out = { 0 };

	for (size_t i = 0; i < config_n_keys; i++) {
		const struct config_key *key = &config_keys[i];
		char type[256];

		buffer_printf(&out, "%s\n    %s.\n    %s", key->path, key->doc, config_type_describe(key, type, sizeof(type)));
		if (key->required)
			buffer_append_str(&out, "; required");
		if (key->fallback)
			buffer_printf(&out, "; default: %s", key->fallback);
		buffer_append_str(&out, "\n");
	}
	if (buffer_error(&out) < 0) {
		buffer_done(&out);
		return NULL;
	}
	return buffer_take(&out);
}
