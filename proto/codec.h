/*
 * codec.h - messages to frames and back. The only place that trusts no byte.
 *
 * Decoding validates everything that a message alone can show: lengths, ranges (offset and bytes are whole blocks,
 * bytes is 1 .. IO_BYTES_MAX, offset + bytes <= CHUNK_BYTES_MAX), enum values, counts against arrays, names terminated and
 * of legal characters, payload length against bytes. Below it, code asserts.
 */
#ifndef COPYHOLD_CODEC_H
#define COPYHOLD_CODEC_H

#include "proto/msg.h"
#include "common/io/transport.h"

/*
 * Scratch memory for encoding and decoding; one an event loop. It grows to the largest message seen and is reused, so
 * that the data path allocates nothing.
 */
struct codec;
struct codec *codec_new(void);
void codec_free(struct codec *codec);

/* Encodes msg and hands it to transport->send. The message must be valid (asserted). */
void codec_send(struct codec *codec, const struct io_transport *transport, struct io_conn *conn,
		const struct msg *msg);

/* Encodes into frame; frame->body points into the codec and is valid until the codec encodes again. */
void codec_encode(struct codec *codec, const struct msg *msg, struct io_frame *frame);

/*
 * Decodes a frame. Pointers in msg point into the frame or the codec and are valid until the frame goes or the codec decodes
 * again; encoding leaves them alone, so an answer may be sent while its request is looked at. msg->payload is the frame's
 * slice (no reference taken). -EPROTO: the peer broke the rules; *why says how.
 */
int codec_decode(struct codec *codec, const struct io_frame *frame, struct msg *msg,
		 const char **why);

#endif
