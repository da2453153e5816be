// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_arena.c: blocks out of one piece of memory, and how holes are joined.
 */
#include "test.h"

#include <stdlib.h>

#include "base/arena.h"

static _Alignas(16) char memory[9 << 20];

// Each block is filled with its own number, so one that overlaps is found. At
// the end the arena is one hole again: nothing is lost, no hole is left alone.
static void storm(uint64_t seed, size_t size_most)
{
    enum { BLOCKS = 200 };
    static struct {
        unsigned char *p, fill;
        size_t size;
    } blocks[BLOCKS];
    size_t bytes = 64 * 1024;
    struct coili_arena *a = coili_arena_init(memory, bytes);
    size_t all = coili_arena_free_bytes(a), used = 0;
    srand((unsigned)seed);
    for (int i = 0; i < 4000 + BLOCKS; i++) {
        size_t b = i < 4000 ? (size_t)rand() % BLOCKS : (size_t)i - 4000;
        if (blocks[b].p) {
            for (size_t k = 0; k < blocks[b].size; k++)
                CHECK_INT(blocks[b].p[k], blocks[b].fill);
            coili_arena_put(a, blocks[b].p, blocks[b].size);
            used -= (blocks[b].size + 15) / 16 * 16;
            blocks[b].p = NULL;
        } else if (i < 4000) {
            blocks[b].size = 1 + (size_t)rand() % size_most;
            blocks[b].fill = (unsigned char)rand();
            blocks[b].p = coili_arena_get(a, blocks[b].size);
            if (!blocks[b].p)
                continue;
            CHECK_INT((uintptr_t)blocks[b].p % 16, 0);
            CHECK(coili_arena_owns(a, blocks[b].p));
            memset(blocks[b].p, blocks[b].fill, blocks[b].size);
            used += (blocks[b].size + 15) / 16 * 16;
        }
        CHECK_INT(coili_arena_free_bytes(a), all - used);
    }
    CHECK(coili_arena_get(a, all) != NULL);
    CHECK_INT(coili_arena_free_bytes(a), 0);
}

TEST(arena_is_one_hole_again_when_all_is_freed)
{
    int n = test_seeds(60);
    for (int i = 0; i < n; i++) {
        storm(test_seed(i), 48); // many holes of one unit
        storm(test_seed(i), 900);
        storm(test_seed(i), 20000);
    }
}

// All ways in which a block's neighbours can be: used, one unit, longer.
TEST(arena_joins_a_block_with_both_neighbours)
{
    static const size_t sizes[] = { 16, 32, 48, 400 };
    for (unsigned i = 0; i < 4 * 4 * 4 * 6; i++) {
        struct coili_arena *a = coili_arena_init(memory, 4096);
        size_t all = coili_arena_free_bytes(a);
        size_t size[3] = { sizes[i % 4], sizes[i / 4 % 4], sizes[i / 16 % 4] };
        void *p[3];
        for (int k = 0; k < 3; k++)
            p[k] = coili_arena_get(a, size[k]);
        void *rest = coili_arena_get(a, coili_arena_free_bytes(a));
        CHECK(rest && !coili_arena_get(a, 16));
        static const int orders[6][3] = {
            { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
            { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 }
        };
        for (int k = 0; k < 3; k++) {
            int one = orders[i / 64][k];
            coili_arena_put(a, p[one], size[one]);
        }
        size_t three = size[0] + size[1] + size[2];
        CHECK(!coili_arena_get(a, three + 16));
        CHECK(coili_arena_get(a, three) == p[0]);
        coili_arena_put(a, p[0], three);
        coili_arena_put(a, rest, all - three);
        CHECK(coili_arena_get(a, all) != NULL);
    }
}

// The holes of the last bin differ in length.
TEST(arena_finds_a_hole_of_several_megabytes)
{
    struct coili_arena *a = coili_arena_init(memory, sizeof memory);
    enum { MORE = 4 << 20, MOST = MORE + 65536 };
    void *most = coili_arena_get(a, MOST), *wall = coili_arena_get(a, 16);
    void *more = coili_arena_get(a, MORE), *rest;
    CHECK(most && wall && more);
    rest = coili_arena_get(a, coili_arena_free_bytes(a));
    CHECK(rest != NULL);
    coili_arena_put(a, most, MOST);
    coili_arena_put(a, more, MORE); // is first in the bin now
    CHECK(coili_arena_get(a, MOST + 1) == NULL);
    CHECK(coili_arena_get(a, MOST) == most);
    CHECK(coili_arena_get(a, MORE) == more);
    CHECK(coili_arena_get(a, 1) == NULL);
}

// No bin stands above it where a hole would be long enough.
TEST(arena_finds_a_hole_behind_many_that_are_too_short)
{
    enum { HOLES = 20, SHORT = 4 << 20, LONG = SHORT + 4096 };
    size_t bytes = (size_t)(HOLES + 2) * LONG;
    char *large = malloc(bytes);
    CHECK(large != NULL);
    struct coili_arena *a = coili_arena_init(large, bytes);
    void *one = coili_arena_get(a, LONG), *holes[HOLES];
    CHECK(one && coili_arena_get(a, 16));
    for (int i = 0; i < HOLES; i++) {
        holes[i] = coili_arena_get(a, SHORT);
        CHECK(holes[i] && coili_arena_get(a, 16));
    }
    while (coili_arena_get(a, 1 << 16))
        continue;
    coili_arena_put(a, one, LONG);
    for (int i = 0; i < HOLES; i++)
        coili_arena_put(a, holes[i], SHORT);
    CHECK(coili_arena_get(a, LONG) == one);
    free(large);
}

TEST(arena_too_small_is_none)
{
    size_t bytes = 0;
    while (!coili_arena_init(memory, bytes))
        bytes++;
    CHECK(bytes <= 512);
    struct coili_arena *a = coili_arena_init(memory, bytes);
    CHECK_INT(coili_arena_free_bytes(a), 16);
    CHECK(coili_arena_get(a, 17) == NULL);
    CHECK(coili_arena_get(a, 0) != NULL); // a block of no bytes has an address
    CHECK(coili_arena_get(a, 0) == NULL);
}
