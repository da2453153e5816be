// SPDX-License-Identifier: MIT
// expect: coil needs a 64-bit system
// by: -I
/*
 * The layout of frames is that of 64-bit systems. A compiler for 32 bits says
 * so once for each file, not at each size that differs.
 */
#ifdef TRAP
#undef __SIZEOF_POINTER__
#define __SIZEOF_POINTER__ 4
#endif

#include <coil.h>

int main(void)
{
    return 0;
}
