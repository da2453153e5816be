// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_alloc.c: size classes, their reuse, and the arena.
 *
 * With an arena the allocator behaves alike in every build; without one each
 * block is a malloc of its own under a sanitizer and in debug builds, and what
 * depends on that asks one_by_one() first.
 */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"

enum { LARGEST_CLASS = 4 << 20 };

static bool aligned(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

static bool one_by_one(void)
{
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    size_t before = test_allocations();
    void *first = coili_get(&a, 16), *second = coili_get(&a, 16);
    CHECK(first && second);
    bool each = test_allocations() - before == 2;
    coili_alloc_fini(&a);
    return each;
}

// A class wastes at most a quarter; a class that is too small would corrupt.
TEST(alloc_class_fits_its_sizes_closely)
{
    static char arena[8 << 20];
    struct coili_alloc a;
    unsigned last = 0;
    for (size_t size = 1; size <= LARGEST_CLASS; size += size / 61 + 1) {
        unsigned cls = coili_size_class(size);
        CHECK(cls >= last && cls < COILI_CLASSES);
        last = cls;
        coili_alloc_init(&a, arena, sizeof arena);
        size_t before = a.taken;
        CHECK(coili_class_get(&a, cls) != NULL);
        size_t taken = a.taken - before;
        CHECK(taken >= size);
        CHECK(taken <= size + size / 4 + 16);
        CHECK_INT(taken % 16, 0);
        CHECK_INT(coili_size_class_below(taken), cls);
        CHECK_INT(coili_size_class_below(taken + 15), cls);
    }
    CHECK_INT(coili_size_class(0), 0);
    CHECK_INT(coili_size_class(16), 0);
    CHECK_INT(coili_size_class(17), 1);
    CHECK_INT(coili_size_class(1024), 63);
    CHECK_INT(coili_size_class(1025), 64);
    CHECK_INT(coili_size_class(LARGEST_CLASS), COILI_CLASSES - 1);
    CHECK_INT(coili_size_class(LARGEST_CLASS + 1), COILI_CLASSES);
    CHECK_INT(coili_size_class(SIZE_MAX), COILI_CLASSES);
}

TEST(alloc_aligns_to_16_bytes)
{
    static char arena[1 << 20];
    for (size_t skew = 0; skew < 16; skew++) {
        struct coili_alloc a;
        coili_alloc_init(&a, arena + skew, sizeof arena - skew);
        for (size_t size = 1; size < 6000; size += 97)
            CHECK(aligned(coili_get(&a, size)));
    }
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    for (size_t size = 1; size < 20000; size += 97)
        CHECK(aligned(coili_get(&a, size)));
    coili_alloc_fini(&a);
}

// A service reaches its working set once: what was freed serves again, the
// warmest first.
TEST(alloc_reuses_what_was_freed)
{
    static char arena[1 << 16];
    struct coili_alloc a;
    coili_alloc_init(&a, arena, sizeof arena);
    void *first = coili_get(&a, 100), *second = coili_get(&a, 100);
    size_t taken = a.taken;
    coili_put(&a, first, 100);
    coili_put(&a, second, 100);
    CHECK(coili_get(&a, 112) == second);  // 100 and 112 are one class
    CHECK(coili_get(&a, 97) == first);
    CHECK_INT(a.taken, taken);
    CHECK(coili_get(&a, 113) != first);
    void *large = coili_get(&a, 3000), *larger = coili_get(&a, 9000);
    taken = a.taken;
    coili_put(&a, large, 3000);
    CHECK(coili_get(&a, 3000) == large);
    coili_put(&a, larger, 9000);
    CHECK(coili_get(&a, 9000) == larger);
    CHECK_INT(a.taken, taken);
}

TEST(alloc_takes_null_back)
{
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    coili_put(&a, NULL, 100);
    coili_put(&a, NULL, LARGEST_CLASS + 1);
    coili_alloc_fini(&a);
}

// Each block is filled with its own number: whoever overlaps is found.
TEST(alloc_never_gives_the_same_bytes_twice)
{
    enum { BLOCKS = 300 };
    static struct {
        unsigned char *p, fill;
        size_t size;
    } blocks[BLOCKS];
    static char arena[16 << 20];
    for (int with_arena = 0; with_arena < 2; with_arena++) {
        struct coili_alloc a;
        coili_alloc_init(&a, with_arena ? arena : NULL, sizeof arena);
        srand(4);
        for (int i = 0; i < (test_is_slow() ? 4000 : 40000); i++) {
            size_t b = (size_t)rand() % BLOCKS;
            if (blocks[b].p) {
                for (size_t k = 0; k < blocks[b].size; k++)
                    CHECK_INT(blocks[b].p[k], blocks[b].fill);
                coili_put(&a, blocks[b].p, blocks[b].size);
                blocks[b].p = NULL;
                continue;
            }
            blocks[b].size = (size_t)rand() % (rand() % 20 ? 600 : 9000);
            blocks[b].fill = (unsigned char)rand();
            blocks[b].p = coili_get(&a, blocks[b].size);
            CHECK(blocks[b].p != NULL);
            memset(blocks[b].p, blocks[b].fill, blocks[b].size);
        }
        memset(blocks, 0, sizeof blocks);
        coili_alloc_fini(&a);
    }
}

// An embedder's memory ends where it said, also if it is not aligned.
TEST(alloc_stays_inside_its_arena)
{
    static unsigned char room[4096];
    for (size_t skew = 0; skew < 16; skew++) {
        struct coili_alloc a;
        size_t bytes = 1500 + skew * 3;
        unsigned char *arena = room + 64 + skew;
        memset(room, 0xee, sizeof room);
        coili_alloc_init(&a, arena, bytes);
        size_t n = 0, own = a.taken;
        for (void *p; (p = coili_get(&a, 48)); n++) {
            CHECK((unsigned char *)p >= arena);
            CHECK((unsigned char *)p + 48 <= arena + bytes);
            memset(p, 0, 48);
        }
        CHECK_INT(n, (bytes - own) / 48);
        CHECK_INT(a.taken, own + n * 48);
        for (unsigned char *p = room; p < room + sizeof room; p++)
            CHECK((p >= arena && p < arena + bytes) || *p == 0xee);
    }
}

TEST(alloc_uses_its_arena_to_the_last_byte)
{
    static _Alignas(16) char arena[1024];
    struct coili_alloc a;
    coili_alloc_init(&a, arena, sizeof arena);
    CHECK(a.taken <= 512); // half a KiB, and a bit for each 16 bytes
    while (a.taken < sizeof arena)
        CHECK(coili_get(&a, 16) != NULL);
    CHECK(coili_get(&a, 1) == NULL);
    CHECK_INT(a.taken, sizeof arena);
}

TEST(alloc_arena_too_small_for_anything_gives_nothing)
{
    static char arena[64];
    for (size_t bytes = 0; bytes < 16; bytes++) {
        struct coili_alloc a;
        coili_alloc_init(&a, arena + 1, bytes);
        CHECK(coili_get(&a, 1) == NULL);
        coili_alloc_fini(&a);
    }
}

// What is out of reach for one size may still be there for another, and comes
// back when it is freed.
TEST(alloc_exhausted_arena_recovers)
{
    static char arena[1536];
    struct coili_alloc a;
    coili_alloc_init(&a, arena, sizeof arena);
    void *most = coili_get(&a, 900);
    CHECK(most != NULL);
    CHECK(coili_get(&a, 900) == NULL);
    CHECK(coili_get(&a, 64) != NULL);
    CHECK(coili_get(&a, LARGEST_CLASS + 1) == NULL);
    size_t taken = a.taken;
    coili_put(&a, most, 900);
    CHECK(coili_get(&a, 900) == most);
    CHECK_INT(a.taken, taken);
    coili_alloc_fini(&a);
}

// A buffer that grows by an eighth at a time left a free block of each size,
// and no size could use those of another: at 17 % of an arena in which nothing
// was in use the program was out of memory, for ever.
TEST(alloc_what_was_freed_in_an_arena_serves_other_sizes)
{
    static char arena[2 << 20];
    struct coili_alloc a;
    coili_alloc_init(&a, arena, sizeof arena);
    size_t own = a.taken, all = sizeof arena - own;
    for (size_t size = 2048; size < all; size += size / 8) {
        void *p = coili_get(&a, size);
        test_note("a block of %zu bytes", size);
        CHECK(p != NULL);
        coili_put(&a, p, size);
        CHECK_INT(a.taken, own);
    }
    // The same with small blocks, which wait in their lists.
    static void *small[(2 << 20) / 1024];
    for (size_t size = 48; size <= 1024; size += size / 8) {
        size_t n = 0;
        test_note("blocks of %zu bytes", size);
        while ((small[n % 2048] = coili_get(&a, size))) {
            if (++n == all / 1024)
                break;
        }
        CHECK_INT(n, all / 1024);
        while (n > 0)
            coili_put(&a, small[--n], size);
    }
    CHECK(coili_get(&a, all - 16) != NULL);
}

// Each free block is looked at once, not at every attempt.
TEST(alloc_exhausted_arena_says_so_at_once)
{
    static char arena[4 << 20];
    struct coili_alloc a;
    coili_alloc_init(&a, arena, sizeof arena);
    static void *every_other[(4 << 20) / 32];
    size_t n = 0;
    for (void *p; (p = coili_get(&a, 16)); n++)
        every_other[n / 2] = p;
    for (size_t i = 0; i < n / 2; i++)
        coili_put(&a, every_other[i], 16);
    for (int i = 0; i < 300000; i++)
        CHECK(coili_get(&a, 32) == NULL);
    CHECK(coili_get(&a, 16) != NULL);
}

// Sizes that come from a peer or from a product: no sum may wrap around.
TEST(alloc_of_more_than_there_is_gives_nothing)
{
    static char arena[4096];
    for (int with_arena = 0; with_arena < 2; with_arena++) {
        struct coili_alloc a;
        coili_alloc_init(&a, with_arena ? arena : NULL, sizeof arena);
        size_t taken = a.taken;
        for (size_t less = 0; less < 100; less++)
            CHECK(coili_get(&a, SIZE_MAX - less) == NULL);
        CHECK(coili_get(&a, SIZE_MAX / 2) == NULL);
        CHECK_INT(a.taken, taken);
        coili_alloc_fini(&a);
    }
}

TEST(alloc_with_an_arena_never_calls_malloc)
{
    static char arena[8 << 20];
    struct coili_alloc a;
    test_forbid_allocations(true);
    coili_alloc_init(&a, arena, sizeof arena);
    for (size_t size = 1; size < 1 << 20; size *= 3) {
        void *p = coili_get(&a, size);
        CHECK(p != NULL);
        coili_put(&a, p, size);
    }
    while (coili_get(&a, 10000))
        continue;
    coili_alloc_fini(&a);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
}

// A burst of large buffers must not stay with the loop for ever.
TEST(alloc_gives_large_blocks_back_to_malloc)
{
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    size_t blocks = test_heap_blocks();
    static const size_t sizes[] = { 5000, 20000, 70000, LARGEST_CLASS,
                                    LARGEST_CLASS + 1, 10 << 20 };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    void *p[SIZES];
    for (size_t i = 0; i < SIZES; i++) {
        p[i] = coili_get(&a, sizes[i]);
        memset(p[i], 1, sizes[i]);
    }
    CHECK_INT(test_heap_blocks(), blocks + SIZES);
    // From the middle, the first and the last of their list.
    static const size_t order[SIZES] = { 2, 5, 0, 3, 1, 4 };
    for (size_t i = 0; i < SIZES; i++)
        coili_put(&a, p[order[i]], sizes[order[i]]);
    CHECK_INT(test_heap_blocks(), blocks);
    CHECK_INT(a.taken, 0);
    coili_alloc_fini(&a);
}

// The loop is allocated by the allocator that it then contains.
TEST(alloc_moves_with_its_blocks)
{
    struct coili_alloc a, b;
    coili_alloc_init(&a, NULL, 0);
    void *small = coili_get(&a, 50);
    void *large = coili_get(&a, 50000), *larger = coili_get(&a, 90000);
    CHECK(small && large && larger);
    coili_alloc_move(&b, &a);
    memset(&a, 0xee, sizeof a);
    coili_put(&b, larger, 90000);
    coili_put(&b, small, 50);
    coili_put(&b, large, 50000);
    CHECK(coili_get(&b, 60000) != NULL);
    coili_alloc_fini(&b);
}

TEST(alloc_without_memory_says_so_and_goes_on)
{
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    test_fail_allocations_from(1);
    CHECK(coili_get(&a, 10) == NULL);
    CHECK(coili_get(&a, 5000) == NULL);
    CHECK(coili_get(&a, LARGEST_CLASS + 1) == NULL);
    CHECK_INT(a.taken, 0);
    test_fail_allocations_from(0);
    CHECK(coili_get(&a, 10) != NULL);
    coili_alloc_fini(&a);
}

// Chunks grow with the need, and stop growing.
TEST(alloc_takes_little_more_than_it_gives)
{
    if (one_by_one())
        SKIP("every block is a malloc of its own");
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    size_t given = 0;
    for (int i = 0; i < 10000; i++) {
        CHECK(coili_get(&a, 2000) != NULL);
        given += 2048;
        CHECK(a.taken < 3 * given + (32 << 10));
        CHECK(a.taken < given + given / 8 + (2 << 20));
    }
    coili_alloc_fini(&a);
}

// The end of a chunk that is too small for a block is kept for smaller ones.
TEST(alloc_does_not_waste_the_rest_of_a_chunk)
{
    if (one_by_one())
        SKIP("every block is a malloc of its own");
    struct coili_alloc a;
    coili_alloc_init(&a, NULL, 0);
    for (int i = 0; i < 4; i++)
        CHECK(coili_get(&a, 4000) != NULL);
    size_t taken = a.taken, n = 0;
    CHECK(a.chunks != NULL);
    while (a.taken == taken && n < 1000) {
        CHECK(coili_get(&a, 1000) != NULL);
        n++;
    }
    // All but what the last block did not fit in: of the first chunk as well.
    CHECK(n * 1024 + 4 * 4096 + 2 * 1024 >= taken);
    coili_alloc_fini(&a);
}
