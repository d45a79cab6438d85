<h1>Entry <?= $e($entry['id']) ?></h1>
<section class="entries"><?= $include('article') ?></section>
<nav class="pages" aria-label="Pages"><a href="<?= $e($base) ?>/">All entries</a></nav>
