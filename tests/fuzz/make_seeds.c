/*
 * make_seeds.c - writes the seed corpora: `make_seeds DIRECTORY` fills DIRECTORY/codec and DIRECTORY/frame with small
 * messages of every type. The same files each time.
 */
#include "proto/codec.h"
#include "proto/frame.h"
#include "tests/lib/random_msg.h"

#include <stdio.h>
#include <stdlib.h>

#define SEED_BODY_MAX  600
#define SEEDS_PER_TYPE 2

static void write_file(const char *directory, const char *corpus, const char *name, int number,
		       const uint8_t *head, size_t head_bytes, const struct io_frame *frame)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s/%s-%d", directory, corpus, name, number);
	file = fopen(path, "wb");
	if (!file) {
		perror(path);
		exit(1);
	}
	fwrite(head, 1, head_bytes, file);
	fwrite(frame->body, 1, frame->body_bytes, file);
	if (fclose(file) != 0) {
		perror(path);
		exit(1);
	}
}

static void write_seed(const char *directory, int number, const struct io_frame *frame)
{
	uint32_t blocks = frame->payload.bytes / BLOCK_BYTES;
	const uint8_t head[3] = {(uint8_t)frame->type, (uint8_t)frame->status,
				 (uint8_t)MIN(blocks, 255u)};
	const char *name = msg_type_name(frame->type);
	uint8_t header[FRAME_HEADER_BYTES];

	write_file(directory, "codec", name, number, head, sizeof head, frame);
	if (number > 0 || frame->body_bytes > 64)
		return;
	frame_encode_header(frame, header);
	write_file(directory, "frame", name, number, header, sizeof header, frame);
}

int main(int argc, char **argv)
{
	struct codec *codec = codec_new();
	struct prng prng = {7};

	if (argc != 2) {
		fprintf(stderr, "usage: make_seeds DIRECTORY\n");
		return 2;
	}
	for (size_t i = 0; i < random_msg_type_count; i++) {
		for (int number = 0; number < SEEDS_PER_TYPE;) {
			struct random_msg random;
			struct io_frame frame;

			random_msg_make(&prng, random_msg_types[i], &random);
			codec_encode(codec, &random.msg, &frame);
			if (frame.body_bytes <= SEED_BODY_MAX)
				write_seed(argv[1], number++, &frame);
			random_msg_free(&random);
		}
	}
	codec_free(codec);
	buf_pool_drain();
	return 0;
}
