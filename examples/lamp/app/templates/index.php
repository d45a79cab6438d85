<?php if (!$isCurrent): ?>
<p class="notice" role="status">The primary database does not answer, and this copy may lack your latest entry, which was
  acknowledged. Reload in a moment.</p>
<?php endif ?>
<?php if ($before === null): ?>
<section class="write">
  <h1>Leave a few words</h1>
  <?= $include('form', ['button' => 'Sign the book']) ?>
</section>
<?php else: ?>
<h1>Earlier entries</h1>
<?php endif ?>
<?php if ($notice !== null): ?><p class="notice good" role="status"><?= $e($notice) ?></p><?php endif ?>
<section class="entries" aria-label="Entries">
<?php foreach ($page as $entry): ?>
<?= $include('article', ['entry' => $entry]) ?>
<?php endforeach ?>
<?php if (!$page): ?>
  <p class="empty"><?= $before === null ? 'Nobody has written yet. The first page is yours.' : 'There are no earlier entries.' ?></p>
<?php endif ?>
</section>
<nav class="pages" aria-label="Pages">
<?php if ($before !== null): ?>  <a href="<?= $e($base) ?>/">Newest entries</a><?php endif ?>
<?php if ($older !== null): ?>  <a class="older" href="<?= $e($base) ?>/?before=<?= $e($older) ?>" rel="next">Earlier entries</a><?php endif ?>
</nav>
