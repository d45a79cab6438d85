"""The tables: `schema.py` makes what is missing, `schema.py --check` ends with 0 when nothing is.

A new release runs this while the one before it still serves: it adds, and takes nothing away.
"""

import os
import sys

from orders import Route, connect_with

TABLES = {
    "accounts": """CREATE TABLE IF NOT EXISTS accounts (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(40) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL UNIQUE,
  password VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB""",
    "orders": """CREATE TABLE IF NOT EXISTS orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  token VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
  account_id BIGINT UNSIGNED NULL,
  customer VARCHAR(40) NOT NULL,
  items VARCHAR(1000) NOT NULL,
  cents INT UNSIGNED NOT NULL,
  ordered_at DATETIME(3) NOT NULL,
  attempts INT UNSIGNED NOT NULL DEFAULT 1,
  KEY (account_id, id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4""",
}


def main() -> int:
    connection = connect_with(os.environ)(Route.WRITE, 30)
    try:
        cursor = connection.cursor()
        cursor.execute("SHOW TABLES")
        missing = TABLES.keys() - {name for (name,) in cursor.fetchall()}
        if "--check" in sys.argv[1:]:
            return 1 if missing else 0
        for name in sorted(missing):
            cursor.execute(TABLES[name])
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
