// SPDX-License-Identifier: MIT
/* Law 5 three times. */
#include <coil/api.h>
#include <liburing.h>
#include <stdint.h>
#include "base/list.h"
#include <zlib.h>
