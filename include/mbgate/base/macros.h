/* SPDX-License-Identifier: MIT */
/* Compiler attributes and small macros that every file may use. */
#ifndef MBGATE_BASE_MACROS_H
#define MBGATE_BASE_MACROS_H

#include <stddef.h>

#define MUST_CHECK          __attribute__((warn_unused_result))
#define UNUSED              __attribute__((unused))
#define PRINTF_LIKE(fmt, a) __attribute__((format(printf, fmt, a)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/*
 * For a file whose pointers gcc -fanalyzer loses sight of, with the proof that they are not lost: its
 * warnings of leaks are off from here on. LeakSanitizer, under which every unit test runs, goes on watching.
 */
#ifdef __clang__
#define NO_ANALYZER_LEAKS
#else
#define NO_ANALYZER_LEAKS _Pragma("GCC diagnostic ignored \"-Wanalyzer-malloc-leak\"")
#endif

/* The structure that holds `member` at `ptr`. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A variable that dies with its block: CLEANUP(session_freep) struct session *s = NULL; */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Hands a pointer on and forgets it, so that its cleanup has nothing to free. */
#define TAKE(ptr)                                  \
        __extension__({                            \
                __typeof__(ptr) take_tmp_ = (ptr); \
                (ptr) = NULL;                      \
                take_tmp_;                         \
        })

/* Defines fn##p(), a cleanup that calls a destructor: DEFINE_CLEANUP(struct session *, session_free) */
#define DEFINE_CLEANUP(type, fn)                                                                  \
        static inline UNUSED void fn##p(type *p) /* NOLINT(bugprone-macro-parentheses): a type */ \
        {                                                                                         \
                if (*p)                                                                           \
                        (void)fn(*p);                                                             \
        }

#define MBGATE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define MBGATE_MAX(a, b) ((a) > (b) ? (a) : (b))

/* free() for CLEANUP(): CLEANUP(cleanup_free) char *text = NULL; */
void cleanup_free(void *p);

/* close() for CLEANUP(), of a descriptor or −1. Keeps errno. */
void cleanup_close(int *fd);

#endif
