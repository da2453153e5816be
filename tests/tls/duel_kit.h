// SPDX-License-Identifier: MIT
#ifndef DUEL_KIT_H
#define DUEL_KIT_H

/*
 * duel_kit.h: the engines that there are, for tests that run a table against
 * each of them.
 */
#include "test.h"

#include "duel.h"

#include <coil/openssl.h>

#endif
