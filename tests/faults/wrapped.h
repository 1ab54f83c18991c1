/* What the linker makes of the calls that meson.build names in --wrap: __wrap_x is called in place of x, and
 * __real_x is x itself. */
#pragma once

#include <jansson.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct loop;
struct sim;
struct sim_event;

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **ret, size_t alignment, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_vasprintf(char **ret, const char *format, va_list ap);
int __wrap_asprintf(char **ret, const char *format, ...);
int __wrap___vasprintf_chk(char **ret, int flag, const char *format, va_list ap);
int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void __wrap_free(void *p);
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error);
json_t *__real_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error);
void *__wrap_sim_zalloc(size_t size);
void *__wrap_sim_realloc(void *p, size_t size);
char *__wrap_sim_strdup(const char *s);
void __wrap_sim_event_arm(struct sim *s, struct sim_event *e, uint64_t at);
int __wrap_sim_loop_init(struct loop *l);

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **ret, size_t alignment, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
int __real_vasprintf(char **ret, const char *format, va_list ap);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void __real_free(void *p);
void *__real_sim_zalloc(size_t size);
void *__real_sim_realloc(void *p, size_t size);
char *__real_sim_strdup(const char *s);
void __real_sim_event_arm(struct sim *s, struct sim_event *e, uint64_t at);
int __real_sim_loop_init(struct loop *l);
