# meterplexctl: the command line; it links the parts of the rooms that know nothing of httpd
if ROOM_CTL
sbin_PROGRAMS += meterplexctl
meterplexctl_SOURCES = support/meterplexctl.c
meterplexctl_LDADD = libmpx_usage.la libmpx_identity.la libmpx_db.la libmpx_lib.la \
	$(PQ_LIBS) $(SODIUM_LIBS) $(APU_LIBS) $(APR_LIBS) -lm
endif
