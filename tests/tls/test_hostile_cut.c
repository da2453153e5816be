// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_hostile_cut.c: the tables of hostile.h in records of one byte, and cut at
 * each place.
 */
#include "hostile_play.h"

TEST(hostile_flights_are_refused_by_coils_engine_however_they_are_cut)
{
    play_tables(DUEL_OWN, true);
}

TEST(hostile_flights_are_refused_by_openssl_however_they_are_cut)
{
    play_tables(DUEL_OPENSSL, true);
}
