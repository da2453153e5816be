// SPDX-License-Identifier: MIT
/*
 * heap.c: a 4-ary heap of deadlines.
 *
 * An entry holds the deadline and a pointer to two words of its owner. In the
 * first word the heap keeps the entry's index, so removing an entry from the
 * middle is as cheap as adding one. In the second word the heap keeps how many
 * entries were added before: that number orders entries with equal deadlines.
 * Owners need neither word while they wait for a timer. So a timer costs 16
 * bytes, and comparing two entries follows a pointer only if their deadlines
 * are equal. A timer wheel is twice as fast, but rounds deadlines to its ticks;
 * a heap is exact to the nanosecond.
 *
 * The entries are in chunks, so growing copies none of them: a million timers
 * cost 16 MB and never 24, also in an arena.
 */
#include "heap.h"

#include <errno.h>
#include <string.h>

#include "alloc.h"
#include "check.h"

static struct coili_heap_entry *at(const struct coili_heap *h, size_t i)
{
    return &h->chunks[i / COILI_HEAP_CHUNK][i % COILI_HEAP_CHUNK];
}

static uintptr_t *words_of(const struct coili_heap_entry *e)
{
    return (uintptr_t *)(e->owner & ~(uintptr_t)1);
}

/* Write an entry at index `i`, and the index to the owner. */
static void place(const struct coili_heap *h, size_t i,
                  struct coili_heap_entry e)
{
    *at(h, i) = e;
    words_of(&e)[0] = (uintptr_t)i << 2 | COILI_TIMER_TAG;
}

/* By deadline, then by order of adding. Mostly one comparison is enough. */
static inline bool is_before(const struct coili_heap_entry *a,
                             const struct coili_heap_entry *b)
{
    return a->deadline <= b->deadline &&
           (COILI_LIKELY(a->deadline < b->deadline) ||
            words_of(a)[1] < words_of(b)[1]);
}

/*
 * One chunk more. The table of chunks doubles when it is full; it is replaced
 * only when the new one is complete, so an error changes nothing.
 */
static int grow(struct coili_heap *h)
{
    if (h->chunks_n == h->chunks_max) {
        size_t max = h->chunks_max ? h->chunks_max * 2 : 8;
        void *chunks = coili_get(h->alloc, max * sizeof *h->chunks);
        if (!chunks)
            return -ENOMEM;
        if (h->chunks_n)
            memcpy(chunks, h->chunks, h->chunks_n * sizeof *h->chunks);
        coili_put(h->alloc, h->chunks, h->chunks_max * sizeof *h->chunks);
        h->chunks = chunks;
        h->chunks_max = max;
    }
    void *chunk = coili_get(h->alloc, COILI_HEAP_CHUNK *
                                          sizeof(struct coili_heap_entry));
    if (!chunk)
        return -ENOMEM;
    h->chunks[h->chunks_n++] = chunk;
    return 0;
}

/* Place `e` at `i` or, while it comes before the parent, further up. */
static void sift_up(struct coili_heap *h, size_t i, struct coili_heap_entry e)
{
    while (i > 0) {
        const struct coili_heap_entry *parent = at(h, (i - 1) / 4);
        if (is_before(parent, &e))
            break;
        place(h, i, *parent);
        i = (i - 1) / 4;
    }
    place(h, i, e);
}

/* Place `e` at `i` or, while one of 4 children comes before, further down. */
static void sift_down(struct coili_heap *h, size_t i, struct coili_heap_entry e)
{
    for (;;) {
        size_t child = i * 4 + 1, end = child + 4, least = child;
        if (child >= h->n)
            break;
        if (end > h->n)
            end = h->n;
        const struct coili_heap_entry *first = at(h, child);
        for (size_t c = child + 1; c < end; c++) {
            const struct coili_heap_entry *it = at(h, c);
            if (is_before(it, first)) {
                first = it;
                least = c;
            }
        }
        if (is_before(&e, first))
            break;
        place(h, i, *first);
        i = least;
    }
    place(h, i, e);
}

int coili_heap_push(struct coili_heap *h, int64_t deadline, uintptr_t owner)
{
    if (h->n == h->chunks_n * COILI_HEAP_CHUNK) {
        int err = grow(h);
        if (err < 0)
            return err;
    }
    struct coili_heap_entry e = { deadline, owner };
    words_of(&e)[1] = h->added++;
    sift_up(h, h->n++, e);
    return 0;
}

/*
 * The last entry fills the gap. It may come from another branch, so it may have
 * to go up as well as down.
 */
void coili_heap_remove(struct coili_heap *h, size_t i)
{
    coili_check(i < h->n, "a timer is not in the heap");
    struct coili_heap_entry last = *at(h, --h->n);
    if (i == h->n)
        return;
    if (i > 0 && is_before(&last, at(h, (i - 1) / 4)))
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

struct coili_heap_entry *coili_heap_first(const struct coili_heap *h)
{
    return h->n ? at(h, 0) : NULL;
}

void coili_heap_fini(struct coili_heap *h)
{
    for (size_t i = 0; i < h->chunks_n; i++)
        coili_put(h->alloc, h->chunks[i],
                  COILI_HEAP_CHUNK * sizeof(struct coili_heap_entry));
    coili_put(h->alloc, h->chunks, h->chunks_max * sizeof *h->chunks);
    *h = (struct coili_heap){ 0 };
}
