/* mpx_json, the reader: one pass over the text with a stack of open containers of its own.
 *
 * A string is measured and checked first and copied once it is known to hold no escape, so the common string
 * costs one scan of eight bytes a step and one memcpy. Nodes and strings come from the pool in chunks.
 */
#include "mpx_json.h"
#include "mpx_utf8.h"

#define NODES_A_CHUNK 144 /* about 8 KiB, what APR's allocator gives at the least */
#define STRING_CHUNK 8192
#define FRAMES_INLINE 32
#define SMALL_OBJECT 16 /* members compared one with another; larger objects are sorted */
#define NAME_MAX_BYTES 0x7FFFFFFFu

/* An open array or object */
typedef struct frame {
    mpx_json_t *node;
    mpx_json_t *last;   /* the youngest child, or NULL */
    apr_uint64_t names; /* a bit for each name seen, by its length and ends: unset means surely new */
} frame_t;

typedef struct sort_item {
    apr_uint64_t hash;
    const mpx_json_t *node;
} sort_item_t;

typedef struct reader {
    apr_pool_t *pool;
    const unsigned char *start, *p, *end;
    apr_size_t depth_max, string_max, values_left;
    const char *message; /* why reading stopped; it stopped at p */
    mpx_json_t *nodes;   /* nodes_left of them are free */
    apr_size_t nodes_left, nodes_next;
    char *chunk; /* chunk_left bytes of it are free */
    apr_size_t chunk_left;
    frame_t *frames; /* depth of them are open */
    apr_size_t depth, frames_size;
    const char *name; /* of the value that comes next, or NULL */
    unsigned name_len;
    sort_item_t *sort; /* room for sort_size items, twice */
    apr_size_t sort_size;
} reader_t;

static int fail(reader_t *r, const unsigned char *at, const char *message)
{
    r->p = at;
    r->message = message;
    return 0;
}

static inline void skip_space(reader_t *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')) {
        r->p++;
    }
}

static mpx_json_t *node_make(reader_t *r, mpx_json_type_e type)
{
    mpx_json_t *node;

    if (r->nodes_left == 0) {
        r->nodes = apr_palloc(r->pool, r->nodes_next * sizeof(*r->nodes));
        r->nodes_left = r->nodes_next;
        r->nodes_next = NODES_A_CHUNK;
    }
    node = r->nodes++;
    r->nodes_left--;
    node->type = type;
    node->name = r->name;
    node->name_len = r->name_len;
    node->text = (const char *)r->p;
    node->len = 0;
    node->first = NULL;
    node->next = NULL;
    node->count = 0;
    return node;
}

/* Room for size bytes of text, of which string_keep() takes what was used. No more than what is left of the
 * input is ever needed: a decoded string and its NUL are never longer than its text and its quotes. */
static char *string_room(reader_t *r, apr_size_t size)
{
    if (r->chunk_left < size) {
        apr_size_t rest = (apr_size_t)(r->end - r->p) + 2;
        apr_size_t chunk = rest < STRING_CHUNK ? rest : STRING_CHUNK;

        r->chunk_left = size > chunk ? size : chunk;
        r->chunk = apr_palloc(r->pool, r->chunk_left);
    }
    return r->chunk;
}

static inline void string_keep(reader_t *r, apr_size_t len)
{
    r->chunk[len] = '\0';
    r->chunk += len + 1;
    r->chunk_left -= len + 1;
}

/* One escape; r->p is behind the backslash. @return bytes put at out, or 0 on error */
static unsigned read_escape(reader_t *r, char *out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const unsigned char *slash = r->p - 1;
    const char *letter;
    long point, low;

    if (r->p >= r->end) {
        return fail(r, r->p, "unterminated string");
    }
    if (*r->p != 'u') {
        letter = *r->p ? strchr(letters, *r->p) : NULL;
        if (!letter) {
            return fail(r, slash, "unknown escape");
        }
        r->p++;
        *out = meanings[letter - letters];
        return 1;
    }
    point = r->end - r->p >= 5 ? mpx_utf8_hex4((const char *)r->p + 1) : -1;
    if (point < 0) {
        return fail(r, slash, "\\u without four hexadecimal digits");
    }
    if (point == 0) {
        return fail(r, slash, "U+0000 in a string");
    }
    r->p += 5;
    if (point >= 0xD800 && point <= 0xDFFF) {
        low = r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' ? mpx_utf8_hex4((const char *)r->p + 2) : -1;
        if (point >= 0xDC00 || low < 0xDC00 || low > 0xDFFF) {
            return fail(r, slash, "lone surrogate");
        }
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
        r->p += 6;
    }
    return mpx_utf8_write((unsigned long)point, out);
}

/* A string with escapes; r->p is at the first backslash, what lies between begin and it is plain. */
static int read_escaped(reader_t *r, const unsigned char *begin, const char **text, apr_size_t *len)
{
    const unsigned char *close = r->p, *run;
    apr_size_t size, used = (apr_size_t)(r->p - begin);
    char *out, escape[4];
    unsigned n;

    while (close < r->end && *close != '"') {
        close += *close == '\\' ? 2 : 1;
    }
    if (close >= r->end) {
        return fail(r, r->end, "unterminated string");
    }
    size = (apr_size_t)(close - begin);
    out = string_room(r, (size < r->string_max ? size : r->string_max) + 1);
    memcpy(out, begin, used);
    for (;;) {
        run = r->p;
        if (*run == '"') {
            break;
        }
        if (*run == '\\') {
            r->p++;
            n = read_escape(r, escape);
            if (n == 0) {
                return 0;
            }
            run = (const unsigned char *)escape;
        }
        else if (mpx_utf8_plain(*run)) {
            r->p = mpx_utf8_plain_run(run, close);
            n = (unsigned)(r->p - run);
        }
        else {
            n = *run < 0x20 ? 0 : mpx_utf8_sequence(run, r->end);
            if (n == 0) {
                return fail(r, run, *run < 0x20 ? "control character in a string" : "invalid UTF-8");
            }
            r->p += n;
        }
        if (n > r->string_max - used) {
            return fail(r, r->p, "string too long");
        }
        memcpy(out + used, run, n);
        used += n;
    }
    *text = out;
    *len = used;
    string_keep(r, used);
    r->p++;
    return 1;
}

/* A string; r->p is at the opening quote. */
static int read_string(reader_t *r, const char **text, apr_size_t *len)
{
    const unsigned char *begin = r->p + 1, *p = begin;
    apr_size_t size;
    unsigned n;

    for (;;) {
        p = mpx_utf8_plain_run(p, r->end);
        if (p >= r->end) {
            return fail(r, p, "unterminated string");
        }
        if (*p == '"') {
            break;
        }
        size = (apr_size_t)(p - begin);
        if (*p == '\\') {
            r->p = p;
            return size > r->string_max ? fail(r, p, "string too long") : read_escaped(r, begin, text, len);
        }
        n = *p < 0x20 ? 0 : mpx_utf8_sequence(p, r->end);
        if (n == 0) {
            return fail(r, p, *p < 0x20 ? "control character in a string" : "invalid UTF-8");
        }
        p += n;
    }
    size = (apr_size_t)(p - begin);
    if (size > r->string_max) {
        return fail(r, p, "string too long");
    }
    *text = memcpy(string_room(r, size + 1), begin, size);
    *len = size;
    string_keep(r, size);
    r->p = p + 1;
    return 1;
}

static inline const unsigned char *skip_digits(const unsigned char *p, const unsigned char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

/* RFC 8259 section 6: [ minus ] int [ frac ] [ exp ]. */
static int read_number(reader_t *r, mpx_json_t *node)
{
    const unsigned char *p = r->p, *end = r->end, *digits;

    p += *p == '-';
    digits = p;
    p = skip_digits(p, end);
    if (p == digits) {
        return fail(r, p, "a number needs a digit here");
    }
    if (*digits == '0' && p - digits > 1) {
        return fail(r, digits, "a number has a leading zero");
    }
    if (p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        if (p == digits) {
            return fail(r, p, "a number needs a digit here");
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        digits = p;
        p = skip_digits(p, end);
        if (p == digits) {
            return fail(r, p, "a number needs a digit here");
        }
    }
    node->len = (apr_size_t)(p - r->p);
    r->p = p;
    return 1;
}

static int read_word(reader_t *r, mpx_json_t *node, const char *word, apr_size_t len)
{
    if ((apr_size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0) {
        return fail(r, r->p, "a value is expected here");
    }
    node->len = len;
    r->p += len;
    return 1;
}

static inline int same_name(const mpx_json_t *a, const mpx_json_t *b)
{
    return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

static apr_uint64_t name_hash(const mpx_json_t *node)
{
    const char *p = node->name;
    apr_size_t left = node->name_len;
    apr_uint64_t hash = left, v;

    for (; left >= 8; p += 8, left -= 8) {
        memcpy(&v, p, 8);
        hash = (hash ^ v) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    v = 0;
    memcpy(&v, p, left);
    hash = (hash ^ v) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 32);
}

/* Any total order in which equal names are neighbours. */
static int sort_order(const sort_item_t *a, const sort_item_t *b)
{
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    if (a->node->name_len != b->node->name_len) {
        return a->node->name_len < b->node->name_len ? -1 : 1;
    }
    return memcmp(a->node->name, b->node->name, a->node->name_len);
}

/* Merges the neighbours from[low..middle) and from[middle..high) into to. */
static void sort_merge(const sort_item_t *from, sort_item_t *to, apr_size_t low, apr_size_t middle, apr_size_t high)
{
    apr_size_t left = low, right = middle, i;

    for (i = low; i < high; i++) {
        if (left < middle && (right >= high || sort_order(&from[left], &from[right]) <= 0)) {
            to[i] = from[left++];
        }
        else {
            to[i] = from[right++];
        }
    }
}

/* Duplicates in a large object, by merge sort on (hash, length, bytes): n log n comparisons whatever names a
 * client invents, which a hash table without a secret could not promise. */
static int has_duplicate(reader_t *r, const mpx_json_t *object)
{
    apr_size_t n = object->count, width, low, i;
    sort_item_t *from, *to, *swap;
    const mpx_json_t *child;

    if (r->sort_size < n) {
        r->sort_size = r->sort_size * 2 > n ? r->sort_size * 2 : n;
        r->sort = apr_palloc(r->pool, 2 * r->sort_size * sizeof(*r->sort));
    }
    from = r->sort;
    to = r->sort + n;
    for (i = 0, child = object->first; child; child = child->next, i++) {
        from[i].hash = name_hash(child);
        from[i].node = child;
    }
    for (width = 1; width < n; width *= 2) {
        for (low = 0; low < n; low += 2 * width) {
            apr_size_t middle = low + width < n ? low + width : n;
            apr_size_t high = low + 2 * width < n ? low + 2 * width : n;

            sort_merge(from, to, low, middle, high);
        }
        swap = from, from = to, to = swap;
    }
    for (i = 1; i < n; i++) {
        if (from[i - 1].hash == from[i].hash && same_name(from[i - 1].node, from[i].node)) {
            return 1;
        }
    }
    return 0;
}

/* Hangs a finished or just opened value below the innermost container. */
static void attach(reader_t *r, mpx_json_t *node)
{
    frame_t *top = &r->frames[r->depth - 1];

    if (top->last) {
        top->last->next = node;
    }
    else {
        top->node->first = node;
    }
    top->last = node;
    top->node->count++;
}

static int open_container(reader_t *r, mpx_json_t *node)
{
    frame_t *frame;

    if (r->depth >= r->depth_max) {
        return fail(r, r->p, "nested too deeply");
    }
    if (r->depth == r->frames_size) {
        frame = apr_palloc(r->pool, 2 * r->frames_size * sizeof(*frame));
        memcpy(frame, r->frames, r->frames_size * sizeof(*frame));
        r->frames = frame;
        r->frames_size *= 2;
    }
    frame = &r->frames[r->depth++];
    frame->node = node;
    frame->last = NULL;
    frame->names = 0;
    r->p++;
    return 1;
}

static int close_container(reader_t *r)
{
    mpx_json_t *node = r->frames[r->depth - 1].node;

    if (node->type == MPX_JSON_OBJECT && node->count > SMALL_OBJECT && has_duplicate(r, node)) {
        return fail(r, r->p, "duplicate member name");
    }
    r->p++;
    node->len = (apr_size_t)((const char *)r->p - node->text);
    r->depth--;
    return 1;
}

/* A member's name and colon, for the node that comes next. */
static int read_name(reader_t *r)
{
    const unsigned char *quote = r->p;
    frame_t *top = &r->frames[r->depth - 1];
    const mpx_json_t *child;
    mpx_json_t named;
    apr_uint64_t bit;
    apr_size_t len;

    if (r->p >= r->end || *r->p != '"') {
        return fail(r, r->p, "a member name is expected here");
    }
    if (!read_string(r, &r->name, &len)) {
        return 0;
    }
    r->name_len = (unsigned)len;
    bit = (apr_uint64_t)1 << ((len * 7 + (unsigned char)r->name[0] * 3
                               + (len ? (unsigned char)r->name[len - 1] : 0))
                              & 63);
    if ((top->names & bit) && top->node->count < SMALL_OBJECT) {
        named.name = r->name;
        named.name_len = r->name_len;
        for (child = top->node->first; child; child = child->next) {
            if (same_name(child, &named)) {
                return fail(r, quote, "duplicate member name");
            }
        }
    }
    top->names |= bit;
    skip_space(r);
    if (r->p >= r->end || *r->p != ':') {
        return fail(r, r->p, "a colon is expected here");
    }
    r->p++;
    skip_space(r);
    return 1;
}

/* One value; an array or object is only opened. */
static mpx_json_t *read_value(reader_t *r)
{
    mpx_json_t *node;
    int ok;

    if (r->p >= r->end) {
        fail(r, r->p, "a value is expected here");
        return NULL;
    }
    if (r->values_left == 0) {
        fail(r, r->p, "too many values");
        return NULL;
    }
    r->values_left--;
    node = node_make(r, MPX_JSON_NUMBER);
    if (r->depth > 0) {
        attach(r, node);
    }
    switch (*r->p) {
    case '"':
        node->type = MPX_JSON_STRING;
        ok = read_string(r, &node->text, &node->len);
        break;
    case '{':
        node->type = MPX_JSON_OBJECT;
        ok = open_container(r, node);
        break;
    case '[':
        node->type = MPX_JSON_ARRAY;
        ok = open_container(r, node);
        break;
    case 'n':
        node->type = MPX_JSON_NULL;
        ok = read_word(r, node, "null", 4);
        break;
    case 't':
        node->type = MPX_JSON_TRUE;
        ok = read_word(r, node, "true", 4);
        break;
    case 'f':
        node->type = MPX_JSON_FALSE;
        ok = read_word(r, node, "false", 5);
        break;
    default:
        ok = *r->p == '-' || (*r->p >= '0' && *r->p <= '9') ? read_number(r, node)
                                                            : fail(r, r->p, "a value is expected here");
        break;
    }
    return ok ? node : NULL;
}

/* What follows inside the innermost container: its end, or a comma and (in an object) a name. Leaves r->p at
 * the next value, or behind the end. */
static int read_separator(reader_t *r)
{
    const frame_t *top = &r->frames[r->depth - 1];
    int object = top->node->type == MPX_JSON_OBJECT;

    skip_space(r);
    if (r->p < r->end && *r->p == (object ? '}' : ']')) {
        return close_container(r);
    }
    if (top->last) {
        if (r->p >= r->end || *r->p != ',') {
            return fail(r, r->p, object ? "a comma or } is expected here" : "a comma or ] is expected here");
        }
        r->p++;
        skip_space(r);
    }
    if (object) {
        return read_name(r);
    }
    r->name = NULL;
    r->name_len = 0;
    return 1;
}

static mpx_json_t *read_text(reader_t *r)
{
    mpx_json_t *root;
    apr_size_t before;

    if (r->end - r->p >= 3 && memcmp(r->p, "\xEF\xBB\xBF", 3) == 0) {
        fail(r, r->p, "byte order mark");
        return NULL;
    }
    skip_space(r);
    root = read_value(r);
    if (!root) {
        return NULL;
    }
    while (r->depth > 0) {
        before = r->depth;
        if (!read_separator(r) || (r->depth == before && !read_value(r))) {
            return NULL;
        }
    }
    skip_space(r);
    if (r->p < r->end) {
        fail(r, r->p, "text after the end of the value");
        return NULL;
    }
    return root;
}

apr_status_t mpx_json_parse(apr_pool_t *pool, const char *text, apr_size_t len,
                            const mpx_json_limits_t *limits, mpx_json_t **out, mpx_json_error_t *error)
{
    frame_t frames[FRAMES_INLINE];
    reader_t r;

    memset(&r, 0, sizeof(r));
    r.pool = pool;
    r.start = r.p = (const unsigned char *)text;
    r.end = r.start + len;
    r.depth_max = limits->depth;
    r.values_left = limits->values;
    r.string_max = limits->string < NAME_MAX_BYTES ? limits->string : NAME_MAX_BYTES;
    r.nodes_next = len / 16 + 4 < NODES_A_CHUNK ? len / 16 + 4 : NODES_A_CHUNK;
    r.frames = frames;
    r.frames_size = FRAMES_INLINE;
    *out = read_text(&r);
    if (!*out) {
        error->offset = (apr_size_t)(r.p - r.start);
        error->message = r.message;
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}

const mpx_json_t *mpx_json_member(const mpx_json_t *object, const char *name)
{
    const mpx_json_t *child;
    apr_size_t len = strlen(name);

    if (object->type != MPX_JSON_OBJECT) {
        return NULL;
    }
    for (child = object->first; child; child = child->next) {
        if (child->name_len == len && memcmp(child->name, name, len) == 0) {
            return child;
        }
    }
    return NULL;
}

const char *mpx_json_pointer_token(apr_pool_t *pool, const char *name)
{
    apr_size_t extra = 0;
    const char *p;
    char *out, *q;

    for (p = name; *p; p++) {
        extra += *p == '~' || *p == '/';
    }
    if (extra == 0) {
        return name;
    }
    out = q = apr_palloc(pool, (apr_size_t)(p - name) + extra + 1);
    for (p = name; *p; p++) {
        if (*p == '~' || *p == '/') {
            *q++ = '~';
            *q++ = *p == '~' ? '0' : '1';
        }
        else {
            *q++ = *p;
        }
    }
    *q = '\0';
    return out;
}

int mpx_json_utf8_valid(const char *text, apr_size_t len)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;

    while (p < end) {
        unsigned n;

        p = mpx_utf8_plain_run(p, end);
        if (p == end) {
            break;
        }
        n = *p ? mpx_utf8_sequence(p, end) : 0;
        if (n == 0) {
            return 0;
        }
        p += n;
    }
    return 1;
}
