// SPDX-License-Identifier: MIT
#ifndef COILI_HEAP_H
#define COILI_HEAP_H

/*
 * heap.h: deadlines, the earliest first. Owners of equal deadlines are taken in
 * the order in which they were added. heap.c explains it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct coili_alloc;

#define COILI_HEAP_CHUNK 256 /* entries */
#define COILI_HEAP_UNUSED 3  /* of them, at the start of the first chunk */

struct coili_heap_entry {
    int64_t deadline;
    uintptr_t owner; /* address of two words; the lowest bit is the user's */
};

struct coili_heap {
    struct coili_alloc *alloc;
    struct coili_heap_entry **chunks;
    size_t chunks_n, chunks_max;
    size_t n;
    uintptr_t added; /* entries that were added since the heap was made */
};

/*
 * The owner's first word: the index of its entry in the heap, tagged, so that
 * the same word can hold a pointer at other times. The second word has no tag.
 */
#define COILI_TIMER_TAG 1u
#define COILI_TAG_MASK ((uintptr_t)3)
#define COILI_TIMER_INDEX(word) ((size_t)((word) >> 2))

/*
 * Add a deadline. The heap writes the index of the entry to the first word of
 * `owner`, now and whenever the entry moves.
 *
 * Errors    -ENOMEM
 * Lifetime  the owner lends both words until the entry is removed
 */
int coili_heap_push(struct coili_heap *h, int64_t deadline, uintptr_t owner);

/* Remove the entry at index `place`. Allocates nothing. */
void coili_heap_remove(struct coili_heap *h, size_t place);

/* An entry of the earliest deadline; NULL if there is none. */
struct coili_heap_entry *coili_heap_first(const struct coili_heap *h);

/*
 * Remove all entries of the earliest deadline; there is one. Allocates nothing.
 *
 * Result    the owner that was added first. The first word of each owner is the
 *           next owner, or 0
 */
uintptr_t coili_heap_take(struct coili_heap *h);

void coili_heap_fini(struct coili_heap *h);

#endif
