/* `replies`: texts instead of our own. */
#include <stdlib.h>

#include "main/config_sections.h"
#include "receive/replies.h"

static enum reply_id find_reply(struct config_reader *reader, const struct config_pair *pair)
{
	enum reply_id id = reply_from_name(slice_from(pair->key));
	char suggestion[128], shown[96];

	if (id < REPLY_COUNT)
		return id;
	config_suggest(slice_from(pair->key), reply_names, REPLY_COUNT, suggestion);
	config_error(reader->errors, &pair->mark, "replies: there is no reply \"%s\"%s",
		     slice_escape(slice_from(pair->key), shown, sizeof(shown)), suggestion);
	return REPLY_COUNT;
}

int config_read_replies(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.replies;
	const char **texts;

	if (!node)
		return 0;
	if (node->kind != CONFIG_MAP) {
		config_error(reader->errors, &node->mark, "replies: expected names of replies with texts, found %s",
			     config_kind_name(node->kind));
		return 0;
	}
	texts = arena_new_array(reader->arena, const char *, REPLY_COUNT);
	if (!texts)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		const struct config_pair *pair = &node->pairs[i];
		enum reply_id id = find_reply(reader, pair);
		const char *text = pair->value->kind == CONFIG_SCALAR ? pair->value->text.data : "";
		char out[200];
		const char *wrong = id < REPLY_COUNT ? reply_check_text(id, text, out) : NULL;

		if (wrong)
			config_error(reader->errors, &pair->value->mark, "%s: %s", pair->key, wrong);
		else if (id < REPLY_COUNT)
			texts[id] = text;
	}
	c->receive.replies = texts;
	return 0;
}
