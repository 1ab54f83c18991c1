/* The shipped rules of the reply classifier: reply-classes.yaml, put into the program when it is built. */
#pragma once

#include <stddef.h>

extern const char reply_classes_builtin[];
extern const size_t reply_classes_builtin_len; /* without the final NUL */
