// SPDX-License-Identifier: MIT
/*
 * test_hostile.c: the tables of hostile.h, as they are, against every engine.
 */
#include "hostile_play.h"

// Each flight is wrong in one thing: the alert says that this was seen, and not
// something behind it.
TEST(hostile_flights_are_refused_by_coils_engine)
{
    play_tables(DUEL_OWN, false);
}

// OpenSSL is more lenient here and there: its column says where.
TEST(hostile_flights_are_refused_by_openssl)
{
    play_tables(DUEL_OPENSSL, false);
}
