/* The sums of trees for many rows: what scoring/trees.py and scoring/words.py do in numpy where this is not compiled, to
   the last bit. */

enum {
    LANES = 16,  /* rows that walk side by side: while one waits for its node, the others go on */
    CHECKED = 8, /* branches after which it is seen whether all rows are at a leaf */
    ROWS = 256,  /* rows for which the same words are looked up before the next: these stay in the cache */
    BLOCK = 64,  /* bytes of words that are joined at once, which is a line of the cache */
};

/* Integers that are ordered as their numbers are; NaN's comes first, and zero has one, whatever its sign. */
void keys(const double *numbers, int64_t count, int64_t *keys) {
    for (int64_t index = 0; index < count; index++) {
        double number = numbers[index] + 0.0;
        int64_t bits;
        __builtin_memcpy(&bits, &number, sizeof bits);
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

/* A column whose numbers are looked up among its edges, from `edge` on, of which the last one is infinity. Its row
   counts `times` in the row of its group of columns. */
struct column {
    int64_t given, edge, edges, group, times;
};

/* Which row of its table each row of `given`, shape (rows, width), has in each group of columns: shape (rows, groups).
   `starts`: the first row of each group's table. A column's row is the number of edges that its number is above; NaN
   has the last one. */
void look_up(const struct column *columns, int64_t count, const double *edges, const int32_t *starts, int64_t groups,
             const double *given, int64_t rows, int64_t width, int32_t *looked_up) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t group = 0; group < groups; group++)
            looked_up[row * groups + group] = starts[group];
    for (const struct column *column = columns; column < columns + count; column++)
        for (int64_t row = 0; row < rows; row++) {
            double number = given[row * width + column->given];
            const double *low = edges + column->edge;
            for (int64_t left = column->edges, half; left > 1; left -= half) {
                half = left / 2;
                low += half & -(int64_t)(low[half - 1] < number); /* no branch, as any way is as likely */
            }
            int64_t above = low - (edges + column->edge) + (*low < number);
            above = number == number ? above : column->edges;
            looked_up[row * groups + column->group] += (int32_t)(above * column->times);
        }
}

/* A quarter of a block, which is what every processor joins at once. */
typedef uint64_t part __attribute__((vector_size(BLOCK / 4)));

/* Neighbouring words that add to a target: each one of the values from `value` on. */
struct run {
    int64_t first, words, target, value;
};

/* The sum of numbers, rounded as numpy's: pair by pair, and not one after the other. */
static double sum_of(const double *numbers, int64_t count) {
    if (count > 128) {
        int64_t half = count / 2 - count / 2 % 8;
        return sum_of(numbers, half) + sum_of(numbers + half, count - half);
    }
    int64_t index = 0;
    double sums[8] = {0}, sum = 0;
    if (count >= 8) {
        for (; index + 8 <= count; index += 8)
            for (int each = 0; each < 8; each++)
                sums[each] += numbers[index + each];
        sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
    for (; index < count; index++)
        sum += numbers[index];
    return sum;
}

/* Adds to `sums`, shape (rows, width), what the words of each row lead to.

   `table`: its words, shape (bytes / BLOCK, height, BLOCK). A row's own are those that are in all of the rows of
   `looked_up`, shape (rows, groups). One of 8 bits is a number, and one of 32 has above its first bit that of its leaf.
   `offsets`: what is added to this, by the word, for its place among the values of its run. `places`: room for ROWS
   rows of words; `room`: for the values of a row. */
void join(const unsigned char *table, int64_t height, int64_t bytes, int64_t bits, const int32_t *looked_up,
          int64_t groups, int64_t rows, const int32_t *offsets, const struct run *runs, int64_t count,
          const double *values, int32_t *places, double *room, double *sums, int64_t width) {
    int64_t in_block = BLOCK * 8 / bits, words = bytes / BLOCK * in_block;
    for (int64_t first = 0; first < rows; first += ROWS) {
        int64_t here = rows - first < ROWS ? rows - first : ROWS;
        for (int64_t block = 0; block < bytes / BLOCK; block++)
            for (int64_t row = 0; row < here; row++) {
                const unsigned char *own = table + block * height * BLOCK;
                const int32_t *at = looked_up + (first + row) * groups;
                const part *more = (const part *)(own + (int64_t)at[0] * BLOCK);
                part one = more[0], two = more[1], three = more[2], four = more[3];
                for (int64_t group = 1; group < groups; group++) {
                    more = (const part *)(own + (int64_t)at[group] * BLOCK);
                    one &= more[0];
                    two &= more[1];
                    three &= more[2];
                    four &= more[3];
                }
                part all[] = {one, two, three, four};
                const int32_t *offset = offsets + block * in_block;
                int32_t *place = places + row * words + block * in_block;
                if (bits == 8) {
                    uint8_t each[BLOCK];
                    __builtin_memcpy(each, all, BLOCK);
                    for (int word = 0; word < BLOCK; word++)
                        place[word] = offset[word] + each[word];
                } else {
                    int32_t each[BLOCK / 4], exponents[BLOCK / 4];
                    float floats[BLOCK / 4];
                    __builtin_memcpy(each, all, BLOCK);
                    for (int word = 0; word < BLOCK / 4; word++)
                        floats[word] = (float)(each[word] | 1); /* its exponent is the number of its highest bit */
                    __builtin_memcpy(exponents, floats, BLOCK);
                    for (int word = 0; word < BLOCK / 4; word++)
                        place[word] = offset[word] + (exponents[word] >> 23 & 255) - 127;
                }
            }
        for (const struct run *run = runs; run < runs + count; run++)
            for (int64_t row = 0; row < here; row++) {
                const int32_t *place = places + row * words + run->first;
                for (int64_t word = 0; word < run->words; word++)
                    room[word] = values[run->value + place[word]];
                sums[(first + row) * width + run->target] += sum_of(room, run->words);
            }
    }
}
