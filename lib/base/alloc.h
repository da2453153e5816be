// SPDX-License-Identifier: MIT
#ifndef COILI_ALLOC_H
#define COILI_ALLOC_H

/*
 * alloc.h: memory of one loop, in size classes. alloc.c explains it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COILI_CLASSES 112

/* The classes up to 1 KiB: their freed blocks are always kept in lists. */
#define COILI_SMALL_CLASSES 64

/*
 * Under a sanitizer, and with COIL_DEBUG_ALLOC (valgrind), every block is a
 * malloc of its own, so that these tools see each use of a freed one.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(COIL_DEBUG_ALLOC)
#define COILI_ONE_BY_ONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COILI_ONE_BY_ONE 1
#endif
#endif
#ifndef COILI_ONE_BY_ONE
#define COILI_ONE_BY_ONE 0
#endif

/*
 * The first word of a freed block, read as that of a future: kind 7, which no
 * future has (core/future.h), and one reference, so that dropping it once more
 * is noticed.
 */
#define COILI_DEAD ((uint64_t)7 << 32 | 1)

struct coili_free {
    uint64_t dead; /* COILI_DEAD, in the place of a future's first word */
    struct coili_free *next;
};

struct coili_alloc {
    struct coili_free *free[COILI_CLASSES];
    char *bump, *bump_end;     /* the chunk being carved */
    struct coili_chunk *chunks;
    struct coili_chunk *large; /* blocks from malloc, to be freed at the end */
    size_t chunk_bytes;
    size_t taken;              /* bytes from malloc, or of the arena */
    bool from_arena;           /* never from malloc */
    struct coili_arena *arena; /* NULL also if its memory is too small */
    size_t arena_bytes;
};

/*
 * The caller lends `arena` until coili_alloc_fini(). NULL: memory comes from
 * malloc, in chunks.
 */
void coili_alloc_init(struct coili_alloc *a, void *arena, size_t arena_bytes);
void coili_alloc_fini(struct coili_alloc *a);

/* Move an allocator, for example into an object that it has allocated. */
void coili_alloc_move(struct coili_alloc *to, struct coili_alloc *from);

/* The largest class that `size` bytes, 16 or more, have room for. */
static inline unsigned coili_size_class_below(size_t size)
{
    if (size < 1024)
        return (unsigned)(size / 16) - 1;
    unsigned doubling = 53 - (unsigned)__builtin_clzll(size);
    unsigned cls = 59 + 4 * doubling + (unsigned)(size >> doubling >> 8);
    return cls < COILI_CLASSES ? cls : COILI_CLASSES - 1;
}

unsigned coili_size_class_slow(size_t size);

/* The class that holds `size` bytes; COILI_CLASSES if none does. */
static inline unsigned coili_size_class(size_t size)
{
    if (size - 1 < 1024)
        return (unsigned)(size - 1) / 16;
    return coili_size_class_slow(size);
}

void *coili_class_get_slow(struct coili_alloc *a, unsigned cls);
void coili_class_put_slow(struct coili_alloc *a, void *p, unsigned cls);

/* Memory of a class, aligned to 16; NULL without memory. */
static inline void *coili_class_get(struct coili_alloc *a, unsigned cls)
{
    struct coili_free *f = a->free[cls];
    if (!f)
        return coili_class_get_slow(a, cls);
    a->free[cls] = f->next;
    return f;
}

/*
 * A freed block for `size` bytes. NULL: there is none, or blocks of this size
 * stand in no list; coili_class_get() knows.
 */
static inline void *coili_get_freed(struct coili_alloc *a, size_t size)
{
    size_t cls = (size - 1) / 16;
    struct coili_free *f = cls < COILI_SMALL_CLASSES ? a->free[cls] : NULL;
    if (f)
        a->free[cls] = f->next;
    return f;
}

static inline void coili_class_put(struct coili_alloc *a, void *p, unsigned cls)
{
    if (COILI_ONE_BY_ONE || cls >= COILI_SMALL_CLASSES) {
        coili_class_put_slow(a, p, cls);
        return;
    }
    struct coili_free *f = (struct coili_free *)p;
    f->dead = COILI_DEAD;
    f->next = a->free[cls];
    a->free[cls] = f;
}

/* True if `p` is memory of this allocator. Looks through all its chunks. */
bool coili_alloc_owns(const struct coili_alloc *a, const void *p);

/*
 * The same by size, also above the largest class. coili_put() is given the size
 * that coili_get() was given; NULL is no block.
 */
void *coili_get(struct coili_alloc *a, size_t size);
void coili_put(struct coili_alloc *a, void *p, size_t size);

#endif
