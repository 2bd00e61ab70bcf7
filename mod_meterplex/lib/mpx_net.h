/* mpx_net: addresses, CIDR blocks and W3C trace context. Pure. */
#ifndef MPX_NET_H
#define MPX_NET_H

#include <apr_pools.h>

/* An address as 16 bytes, IPv4 as ::ffff:a.b.c.d, so that both spellings of one peer are one. */
typedef struct mpx_addr { unsigned char b[16]; } mpx_addr_t;
typedef struct mpx_cidr { mpx_addr_t base; unsigned bits; /* 0..128 */ } mpx_cidr_t;

int mpx_addr_parse(const char *text, mpx_addr_t *out);
/* The same for an address as httpd writes it: a zone (RFC 4007 section 11) says where, not who, and is left out. */
int mpx_addr_parse_peer(const char *text, mpx_addr_t *out);
int mpx_cidr_parse(const char *text, mpx_cidr_t *out); /* a bare address is a /128 (or /32); host bits set: refused */
/* No IPv6 block holds an IPv4 address but one within ::ffff:0:0/96: "::/0" is all of IPv6, as httpd's "Require ip" has
 * it. */
int mpx_cidr_contains(const mpx_cidr_t *block, const mpx_addr_t *addr);
/* Zero the host part: IPv6 keeps 64 bits, IPv4 all 32: one subscriber is one client. */
void mpx_addr_client(mpx_addr_t *addr);

/* W3C Trace Context level 1/2 (https://www.w3.org/TR/trace-context/). */
typedef struct mpx_trace {
    unsigned char trace_id[16];
    unsigned char parent_id[8];
    unsigned char flags;
} mpx_trace_t;
#define MPX_TRACEPARENT_TEXT 56
int mpx_traceparent_parse(const char *text, mpx_trace_t *out); /* 1 if valid by the specification */
/* Version 00; flags that level 2 does not define are written as zero (section 3.2.2.5).
 * @param out MPX_TRACEPARENT_TEXT bytes @return out */
char *mpx_traceparent_format(const mpx_trace_t *trace, char *out);

#endif
