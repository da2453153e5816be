// SPDX-License-Identifier: MIT
/*
 * sizes_coil.c: bytes of the structs that stand in users' memory.
 */
#include <coil.h>

#include <stdio.h>

#define SIZE(type) printf("struct=%s bytes=%zu\n", #type, sizeof(struct type))

int main(void)
{
    SIZE(coil_future);
    SIZE(coil_coro);
    SIZE(coil_handle);
    SIZE(coil_waiters);
    SIZE(coil_semaphore);
    SIZE(coil_lock);
    SIZE(coil_event);
    SIZE(coil_addr);
    return 0;
}
