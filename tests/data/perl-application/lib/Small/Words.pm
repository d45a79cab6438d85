package Small::Words;

# Words in the database, which is called anew for each request: the way there leads to whoever is primary now.
use strict;
use warnings;
use DBI;

sub connected {
    my %limits = (mariadb_connect_timeout => 2, mariadb_read_timeout => 10, mariadb_write_timeout => 10);
    my %tls = (mariadb_ssl => 1, mariadb_ssl_ca_file => $ENV{DATABASE_SSL_CA}, mariadb_ssl_verify_server_cert => 1);
    return DBI->connect("DBI:MariaDB:database=$ENV{DATABASE_NAME};host=$ENV{DATABASE_HOST};port=$ENV{DATABASE_PORT}",
        $ENV{DATABASE_USER}, $ENV{DATABASE_PASSWORD}, { RaiseError => 1, PrintError => 0, AutoCommit => 1, %limits, %tls });
}

sub server {
    my ($name, $cipher) = connected()->selectrow_array(
        'SELECT @@hostname, VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = ?', undef, 'SSL_CIPHER');
    return { name => $name, cipher => $cipher };
}

sub with_table {
    my $database = connected();
    $database->do('CREATE TABLE IF NOT EXISTS words (token VARCHAR(64) PRIMARY KEY) ENGINE=InnoDB');
    return $database;
}

sub write {
    my ($token) = @_;
    return with_table()->do('INSERT IGNORE INTO words VALUES (?)', undef, $token);
}

sub has {
    my ($token) = @_;
    return with_table()->selectrow_array('SELECT COUNT(*) FROM words WHERE token = ?', undef, $token);
}

1;
