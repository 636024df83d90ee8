/* Rows of CSV become numbers and codes of categories, in one pass over their bytes; and are written again, with what
   scoring adds. */

/* How the cells of a column of the header are read. */
enum { SKIPPED, NUMBER, INTEGER, CODED };

enum {
    LONGEST = 100, /* bytes of a cell in which a number is looked for: schema.LONGEST_VALUE */
    CHUNK = 16,    /* bytes that are copied at once */
};

static const double LARGEST_INTEGER = 9007199254740991.0, LARGEST_NUMBER = 3.4028234663852886e38;

/* `kind`; `to`: which of the arrays of numbers, or of codes, takes its rows; `empty`: whether an empty cell is a number
   that is missing; `point`: what stands before a number's fraction. The levels of a category are found by `slots`, from
   `slot` on, of which there are `mask` + 1; each is 0, or a level's place among `starts` and 1 more. `level`: that place
   of the first one. */
struct cells {
    int64_t kind, to, empty, point, slot, mask, level;
};

/* A cell that Python has to look at: it is refused, or spelled in a rare way. */
struct odd {
    int32_t row, column, start, stop;
};

static int is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

static int is_within(double number, int64_t kind) {
    if (kind == NUMBER)
        return -LARGEST_NUMBER <= number && number <= LARGEST_NUMBER;
    return -LARGEST_INTEGER <= number && number <= LARGEST_INTEGER && (double)(int64_t)number == number;
}

static uint64_t mixed(uint64_t hash, uint8_t byte) { return (hash ^ byte) * 0x9E3779B97F4A7C15u; }

/* The slot at which the search for a text of this hash begins. */
static int64_t begin(uint64_t hash, int64_t mask) { return (int64_t)(hash >> 32) & mask; }

static int is_same(const uint8_t *text, const uint8_t *other, int64_t count) {
    for (int64_t index = 0; index < count; index++)
        if (text[index] != other[index])
            return 0;
    return 1;
}

/* Enters the levels of a category, which are different texts: `count` of `texts`, from `starts[level]` on.
   `is_level`: which are. */
void enter(const struct cells *column, const uint8_t *texts, const int64_t *starts, const uint8_t *is_level,
           int64_t count, int32_t *slots) {
    for (int64_t level = column->level; level < column->level + count; level++) {
        if (!is_level[level])
            continue;
        uint64_t hash = 0;
        for (int64_t index = starts[level]; index < starts[level + 1]; index++)
            hash = mixed(hash, texts[index]);
        int64_t slot = begin(hash, column->mask);
        while (slots[column->slot + slot])
            slot = (slot + 1) & column->mask;
        slots[column->slot + slot] = (int32_t)(level + 1);
    }
}

/* The code of the text up to `stop` among the levels of a category, of which `hash` is the hash; or -1. */
static int32_t code_of(const struct cells *column, const uint8_t *texts, const int64_t *levels, const int32_t *slots,
                       const uint8_t *first, const uint8_t *stop, uint64_t hash) {
    int64_t slot = begin(hash, column->mask);
    int32_t code = 0;
    for (; (code = slots[column->slot + slot]); slot = (slot + 1) & column->mask)
        if (levels[code] - levels[code - 1] == stop - first && is_same(texts + levels[code - 1], first, stop - first))
            return code - 1 - (int32_t)column->level;
    return -1;
}

/* Reads the number between blanks; returns whether Python has to look at the cell. */
static int is_rare(const struct cells *column, const uint8_t *first, const uint8_t *stop, const uint8_t *safe,
                   const struct power *powers, double *number) {
    while (first < stop && is_blank(*first))
        first++;
    while (first < stop && is_blank(stop[-1]))
        stop--;
    if (first == stop)
        return !column->empty;
    return number_at(first, safe, (uint8_t)column->point, powers, number) != stop || !is_within(*number, column->kind) ||
           stop - first > LONGEST;
}

/* Reads the records in `data`, each of which ends with LF; blank lines are none. Commas and quotes are as `unquote` leaves
   them.

   Those that are `width` cells wide are the rows: of each, the cells of a `columns[cell]` that is not SKIPPED go to
   `numbers` or to `codes`, both of shape (columns that have one, `room`), or to `odd`. `starts` and `stops`: between
   which bytes each record is. `others`: which of them are not rows; `widths`: how many cells these have.
   `counts`: how many rows, records, others and odd cells there are. */
void read_rows(const uint8_t *data, int64_t size, const struct cells *columns, int64_t width,
               const struct power *powers, const uint8_t *texts, const int64_t *levels, const int32_t *slots,
               int64_t room, double *numbers, int32_t *codes, int64_t *starts, int64_t *stops, int64_t *others,
               int64_t *widths, struct odd *odd, int64_t *counts) {
    const uint8_t *at = data, *safe = data + size - 8;
    int64_t rows = 0, records = 0, count = 0, odds = 0;
    while (at < data + size) {
        if (*at == '\n') {
            at++;
            continue;
        }
        int64_t cell = 0, before = odds;
        starts[records] = at - data;
        for (;; cell++, at++) {
            const uint8_t *first = at, *stop;
            const struct cells *column = columns + cell;
            int64_t kind = cell < width ? column->kind : SKIPPED;
            int is_odd = 0;
            if (*at == '"') {
                int has_quotes = 0;
                for (first = ++at; *at != '"' || at[1] == '"'; at++) {
                    has_quotes |= *at == '"';
                    at += *at == '"';
                }
                stop = at++;
                if (kind == CODED) {
                    uint64_t hash = 0;
                    for (const uint8_t *byte = first; byte < stop; byte++)
                        hash = mixed(hash, *byte);
                    int32_t code = has_quotes ? -1 : code_of(column, texts, levels, slots, first, stop, hash);
                    codes[column->to * room + rows] = code;
                    is_odd = code < 0;
                } else if (kind != SKIPPED) {
                    double number = __builtin_nan("");
                    is_odd = is_rare(column, first, stop, safe, powers, &number);
                    numbers[column->to * room + rows] = number;
                }
            } else if (kind == CODED) {
                uint64_t hash = 0;
                for (; *at != ',' && *at != '\n'; at++)
                    hash = mixed(hash, *at);
                stop = at;
                int32_t code = code_of(column, texts, levels, slots, first, stop, hash);
                codes[column->to * room + rows] = code;
                is_odd = code < 0;
            } else if (kind != SKIPPED) {
                double number = __builtin_nan("");
                const uint8_t *last = number_at(first, safe, (uint8_t)column->point, powers, &number);
                if (last && (*last == ',' || *last == '\n')) {
                    at = last;
                    is_odd = !is_within(number, kind) || at - first > LONGEST;
                } else {
                    while (*at != ',' && *at != '\n')
                        at++;
                    is_odd = is_rare(column, first, at, safe, powers, &number);
                }
                stop = at;
                numbers[column->to * room + rows] = number;
            } else {
                while (*at != ',' && *at != '\n')
                    at++;
                stop = at;
            }
            if (is_odd) {
                struct odd one = {(int32_t)rows, (int32_t)cell, (int32_t)(first - data), (int32_t)(stop - data)};
                odd[odds++] = one;
            }
            if (*at == '\n')
                break;
        }
        stops[records] = at++ - data;
        if (cell + 1 == width) {
            rows++;
        } else {
            others[count] = records;
            widths[count++] = cell + 1;
            odds = before;
        }
        records++;
    }
    counts[0] = rows;
    counts[1] = records;
    counts[2] = count;
    counts[3] = odds;
}

/* What is written for each row: the `length` bytes `before`, and its number of `values`, or of `texts` the one whose
   place among `starts` is its number. Addresses, as integers. */
struct output {
    int64_t kind, before, length, values, texts, starts;
};

enum { DOUBLE, INTEGRAL, TEXT };

static uint8_t *copied(uint8_t *to, const uint8_t *from, const uint8_t *stop) {
    for (; from + CHUNK <= stop; from += CHUNK, to += CHUNK)
        __builtin_memcpy(to, from, CHUNK);
    while (from < stop)
        *to++ = *from++;
    return to;
}

/* Writes each row of `data`, which is between `starts` and `stops`, its outputs, and the `length` bytes of an `end`:
   returns the number of bytes. */
int64_t write_rows(const uint8_t *data, const int64_t *starts, const int64_t *stops, int64_t rows,
                   const struct output *outputs, int64_t count, const struct power *powers, const uint8_t *end,
                   int64_t length, uint8_t *written) {
    uint8_t *to = written;
    for (int64_t row = 0; row < rows; row++) {
        to = copied(to, data + starts[row], data + stops[row]);
        for (const struct output *output = outputs; output < outputs + count; output++) {
            const uint8_t *before = (const uint8_t *)output->before;
            to = copied(to, before, before + output->length);
            if (output->kind == DOUBLE) {
                to = put_double(to, ((const double *)output->values)[row], powers);
            } else {
                int64_t value = ((const int64_t *)output->values)[row];
                if (output->kind == INTEGRAL) {
                    to = put_integer(to, value);
                } else {
                    const uint8_t *texts = (const uint8_t *)output->texts;
                    const int64_t *at = (const int64_t *)output->starts + value;
                    to = copied(to, texts + at[0], texts + at[1]);
                }
            }
        }
        to = copied(to, end, end + length);
    }
    return to - written;
}
