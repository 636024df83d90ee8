/* What takes the time of a table, compiled: see rows.c, quotes.c and trees.c. Arrays are contiguous, and Python sees to
   their sizes. Nothing is allocated here, and no library is needed. */

#include <stdint.h>

/* Python calls the version that it was written for, and no other. */
int32_t version(void) { return 6; }

#include "numbers.c"
#include "rows.c"
#include "quotes.c"
#include "trees.c"
