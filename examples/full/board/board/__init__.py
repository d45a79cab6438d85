"""The notice board. PyMySQL stands in for mysqlclient, which would have to be compiled for the hosts."""

import pymysql

pymysql.install_as_MySQLdb()
