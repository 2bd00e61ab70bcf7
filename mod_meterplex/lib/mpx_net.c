/* mpx_net.c: see mpx_net.h. */
#include "mpx_net.h"

#include <arpa/inet.h>
#include <string.h>

#define KNOWN_FLAGS 0x03 /* sampled, random-trace-id */

int mpx_addr_parse(const char *text, mpx_addr_t *out)
{
    unsigned char four[4];
    if (inet_pton(AF_INET6, text, out->b) == 1) {
        return 1;
    }
    if (inet_pton(AF_INET, text, four) != 1) {
        return 0;
    }
    memset(out->b, 0, 10);
    out->b[10] = out->b[11] = 0xff;
    memcpy(out->b + 12, four, 4);
    return 1;
}

int mpx_addr_parse_peer(const char *text, mpx_addr_t *out)
{
    char address[INET6_ADDRSTRLEN + 1];
    apr_size_t len = strcspn(text, "%");

    if (len >= sizeof address) {
        return 0;
    }
    memcpy(address, text, len);
    address[len] = '\0';
    return mpx_addr_parse(address, out);
}

static int is_ipv4(const mpx_addr_t *addr)
{
    static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    return memcmp(addr->b, mapped, 12) == 0;
}

static void clear_host(mpx_addr_t *addr, unsigned bits)
{
    unsigned i;
    for (i = bits; i < 128; i++) {
        addr->b[i / 8] &= (unsigned char)~(0x80 >> i % 8);
    }
}

int mpx_cidr_parse(const char *text, mpx_cidr_t *out)
{
    char address[INET6_ADDRSTRLEN + 1];
    const char *slash = strchr(text, '/');
    apr_size_t len = slash ? (apr_size_t)(slash - text) : strlen(text);
    mpx_cidr_t block;
    mpx_addr_t masked;
    unsigned width;

    if (len >= sizeof address) {
        return 0;
    }
    memcpy(address, text, len);
    address[len] = '\0';
    if (!mpx_addr_parse(address, &block.base)) {
        return 0;
    }
    width = strchr(address, ':') ? 128 : 32;
    block.bits = width;
    if (slash) {
        const char *c = slash + 1;
        if (*c == '\0' || strlen(c) > 3 || (c[0] == '0' && c[1])) {
            return 0;
        }
        for (block.bits = 0; *c >= '0' && *c <= '9'; c++) {
            block.bits = block.bits * 10 + (unsigned)(*c - '0');
        }
        if (*c || block.bits > width) {
            return 0;
        }
    }
    block.bits += 128 - width;
    masked = block.base;
    clear_host(&masked, block.bits);
    if (memcmp(&masked, &block.base, sizeof masked) != 0) {
        return 0; /* 10.0.0.1/8: was 10.0.0.1 meant, or 10.0.0.0/8? */
    }
    *out = block;
    return 1;
}

int mpx_cidr_contains(const mpx_cidr_t *block, const mpx_addr_t *addr)
{
    mpx_addr_t masked = *addr;
    if (block->bits < 96 && is_ipv4(addr)) {
        return 0;
    }
    clear_host(&masked, block->bits);
    return memcmp(&masked, &block->base, sizeof masked) == 0;
}

void mpx_addr_client(mpx_addr_t *addr)
{
    if (!is_ipv4(addr)) {
        memset(addr->b + 8, 0, 8);
    }
}

static int lower_hex(const char *text, unsigned char *out, int bytes)
{
    int i, k;
    for (i = 0; i < bytes; i++) {
        out[i] = 0;
        for (k = 0; k < 2; k++) {
            char c = text[2 * i + k];
            if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
                return 0;
            }
            out[i] = (unsigned char)(out[i] << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
        }
    }
    return 1;
}

int mpx_traceparent_parse(const char *text, mpx_trace_t *out)
{
    static const unsigned char zero[16];
    apr_size_t len = strlen(text);
    unsigned char version;
    mpx_trace_t trace;

    if (len < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' || !lower_hex(text, &version, 1)
        || version == 0xff || (version == 0 && len != 55) || (len > 55 && text[55] != '-')
        || !lower_hex(text + 3, trace.trace_id, 16) || !lower_hex(text + 36, trace.parent_id, 8)
        || !lower_hex(text + 53, &trace.flags, 1)
        || memcmp(trace.trace_id, zero, 16) == 0 || memcmp(trace.parent_id, zero, 8) == 0) {
        return 0;
    }
    *out = trace;
    return 1;
}

static char *put_hex(char *at, const unsigned char *bytes, int n)
{
    static const char hex[] = "0123456789abcdef";
    while (n-- > 0) {
        *at++ = hex[*bytes >> 4];
        *at++ = hex[*bytes++ & 15];
    }
    return at;
}

char *mpx_traceparent_format(const mpx_trace_t *trace, char *out)
{
    unsigned char flags;
    char *at = out;

    *at++ = '0';
    *at++ = '0';
    *at++ = '-';
    at = put_hex(at, trace->trace_id, 16);
    *at++ = '-';
    at = put_hex(at, trace->parent_id, 8);
    *at++ = '-';
    flags = trace->flags & KNOWN_FLAGS;
    at = put_hex(at, &flags, 1);
    *at = '\0';
    return out;
}
