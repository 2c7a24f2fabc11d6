"""A mail server that writes what it gets to a file: mail_server.py PORT FILE."""

import asyncio
import sys

from aiosmtpd.controller import Controller
from email import message_from_bytes, policy


class Keep:
    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            for name, value in mail.items():
                file.write(f"{name}: {value}\n")
            file.write("\n" + mail.get_content() + "\n")
        return "250 kept"


controller = Controller(Keep(), hostname="127.0.0.1", port=int(sys.argv[1]))
controller.start()
print("listens", flush=True)
asyncio.new_event_loop().run_forever()
