"""What one page takes on, so that no client takes the machine."""

CLIENTS = 8  # At once.
UPLOAD = 512 << 20  # Bytes of a recording.
HOURS = 4.0  # Of a session, and of a recording.
FRAME = 4 * 192_000  # Bytes of samples in one message: a second at 192 kHz.
MESSAGE = 4_096  # Characters of any other message.
QUIET = 60.0  # Seconds without a message, after which a client has gone.
WAITING = 10.0  # Seconds of sound that wait to be heard.
CONNECTIONS = 100  # Sockets; browsers open several for a page.
