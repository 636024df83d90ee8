/* Rows walk through trees side by side: what trees.py does in numpy where this is not compiled, to the last bit.
   Arrays are contiguous, and Python sees to their shapes. Nothing is allocated here. */

#include <stdint.h>
#include <string.h>

enum {
    LANES = 16,  /* rows that walk side by side: while one waits for its node, the others go on */
    CHECKED = 8, /* branches after which it is seen whether all rows are at a leaf */
};

/* Python calls the version that it was written for, and no other. */
int32_t version(void) { return 1; }

/* Integers that are ordered as their numbers are; NaN's comes first, and zero has one, whatever its sign. */
void keys(const double *numbers, int64_t count, int64_t *keys) {
    for (int64_t index = 0; index < count; index++) {
        double number = numbers[index] + 0.0;
        int64_t bits;
        memcpy(&bits, &number, sizeof bits);
        keys[index] = number == number ? bits ^ ((bits >> 63) & INT64_MAX) : INT64_MIN;
    }
}

/* A row goes from a branch to node `yes` of its tree if its key in `column` is one of `span` + 1 from `low` on,
   else to the node after that. So one comparison does for "at most", "equal" and "missing" alike, where those
   of doubles take twice the time. From a leaf, whose number is `low`, every row goes to the leaf itself. */
struct node {
    int64_t low;
    uint64_t span;
    uint32_t yes;
    uint32_t column;
};

/* Where the nodes of a tree, the values of its leaves and its targets begin; a leaf has a value for each target. */
struct tree {
    int64_t root, value, target, targets, depth;
};

/* Not inlined, as it would have the compiler keep `at` out of registers in the loop that takes the time. */
static __attribute__((noinline)) int walking(const struct node *root, const uint32_t *at) {
    int any = 0;
    for (int lane = 0; lane < LANES; lane++)
        any |= root[at[lane]].yes != at[lane];
    return any;
}

/* Adds to `sums`, shape (rows, width), the values of the leaves to which each row of `keys` comes, tree after
   tree. `keys`: shape (rows and more, to a multiple of LANES, columns). A tree's nodes come into the cache once. */
void walk(const struct node *nodes, const struct tree *trees, int64_t count, const int32_t *targets,
          const double *values, const int64_t *keys, int64_t rows, int64_t columns, double *sums, int64_t width) {
    for (const struct tree *tree = trees; tree < trees + count; tree++) {
        const struct node *root = nodes + tree->root;
        for (int64_t start = 0; start < rows; start += LANES) {
            const int64_t *row = keys + start * columns;
            uint32_t at[LANES] = {0};
            for (int64_t left = tree->depth; left > 0; left -= CHECKED) {
                int branches = left < CHECKED ? (int)left : CHECKED;
                for (int branch = 0; branch < branches; branch++)
                    for (int lane = 0; lane < LANES; lane++) {
                        const struct node *node = root + at[lane];
                        uint64_t above = (uint64_t)row[lane * columns + node->column] - (uint64_t)node->low;
                        at[lane] = node->yes + (above > node->span);
                    }
                if (left > CHECKED && !walking(root, at))
                    break;
            }
            for (int64_t lane = 0; lane < LANES && start + lane < rows; lane++) {
                const double *value = values + tree->value + root[at[lane]].low * tree->targets;
                double *sum = sums + (start + lane) * width;
                for (int64_t each = 0; each < tree->targets; each++)
                    sum[targets[tree->target + each]] += value[each];
            }
        }
    }
}
